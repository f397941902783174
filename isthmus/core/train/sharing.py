"""How the processes of a run share its model: not at all (one alone), or a copy each (DDP);
`slices.py` has the third way. Whatever averages gradients averages them over the processes.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Shared:
    """A root module that one process runs by itself."""

    def __init__(self, root: nn.Module, device: torch.device) -> None:
        self.root = root.to(device)

    def __call__(self, batch: Any) -> Any:
        return self.root(batch)

    def no_sync(self) -> AbstractContextManager[None]:
        """Backward passes in this block may keep their gradients to themselves."""
        return nullcontext()

    def rounds(self, own: int) -> int:
        """Forward passes that this process must make where it has `own` batches."""
        return own

    def norm(self, gradients: list[Tensor]) -> Tensor:
        """Length of the whole gradient, the same on all processes."""
        return nn.utils.get_total_norm(gradients)

    def state(
        self, module: nn.Module, only: Collection[str] | None = None
    ) -> dict[str, Tensor] | None:
        """The whole state of a module inside the root, or `only` these names of it, on the
        main process; None where it is what `state_dict` says. For all processes to call."""
        return None

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """These tensors in full, on the main process. For all processes to call."""
        return dict(tensors)

    def own(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of whole tensors named `{parameter}/{entry}`, what belongs to this process."""
        return dict(tensors)

    def close(self) -> None:
        """Leave the root as it was, with whole weights. For all processes to call."""


class Copies(Shared):
    """DDP. Only what learns is exchanged: a frozen trunk costs nothing after the start."""

    def __init__(self, root: nn.Module, device: torch.device) -> None:
        super().__init__(root, device)
        # Every trained parameter takes part in every synchronised backward pass, by the
        # engine's doing, so DDP need not look for unused ones; nor does it watch buffers,
        # which nothing in a step changes. torch 2.15 has another name for that.
        takes = inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in takes else "broadcast_buffers"
        settings: dict[str, Any] = {buffers: False, "gradient_as_bucket_view": True}
        if device.type != "cpu":
            settings["device_ids"] = [device]
        self.copy: Any = DistributedDataParallel(self.root, **settings)

    def __call__(self, batch: Any) -> Any:
        return self.copy(batch)

    def no_sync(self) -> AbstractContextManager[None]:
        return self.copy.no_sync()

    def close(self) -> None:
        # It holds on to the process group, whose threads must end before the process does.
        self.copy = None
