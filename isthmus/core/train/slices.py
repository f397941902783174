"""A model whose every weight is sliced over the processes of a run: FSDP2.

`torch.distributed.fsdp.fully_shard` is called here, the same on CPU and GPU: Accelerate's FSDP
silently becomes DDP on CPU. It changes modules in place, so a stage's end puts everything back
as it was (`close`): tuners, checkpoints and the next stage see plain modules with whole weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from isthmus.core.contracts import LLM
from isthmus.core.model.vlm import VisionLanguageModel, learns
from isthmus.core.train.sharing import Shared


class Slices(Shared):
    """FSDP2: one group a layer of the LLM, one a layer of an encoder that learns, one for the rest.

    The rest (embeddings, head, connector, objective) is whole from a forward pass to the end
    of its backward pass, since it is used from everywhere. A frozen encoder is copied: its
    weights are few and, without a graph behind it, whether it runs is each process's own
    business. On GPUs a bf16 run gathers layers in bf16, and reduces gradients in fp32.

    Gradients are reduced after every micro-batch: whole ones, kept until a step's last, would
    take the memory that slices are to save.
    """

    def __init__(
        self, root: nn.Module, device: torch.device, mesh: DeviceMesh, *, bf16: bool
    ) -> None:
        from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

        self.root = root
        self.main = mesh.get_rank() == 0
        self._before = {module: _hooks(module) for module in root.modules()}
        policy = MixedPrecisionPolicy(cast_forward_inputs=False)
        if bf16 and device.type != "cpu":  # whose layer norms take no weights in bf16
            policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        for unit in _units(root):
            fully_shard(unit, mesh=mesh, mp_policy=policy)
        copied = set(_copied(root, device))
        fully_shard(root, mesh=mesh, ignored_params=copied)
        self._sharded = [module for module in root.modules() if isinstance(module, FSDPModule)]
        root.register_forward_hook(self._after_forward)

    def rounds(self, own: int) -> int:
        most = torch.tensor(own, device=self._device)
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        return int(most)

    def norm(self, gradients: list[Tensor]) -> Tensor:
        return self._full(super().norm(gradients))

    def state(
        self, module: nn.Module, only: Collection[str] | None = None
    ) -> dict[str, Tensor] | None:
        state = module.state_dict()
        wanted = [name for name in state if only is None or name in only]
        first: dict[nn.Parameter, str] = {}
        named = module.named_parameters(remove_duplicate=False)
        tied = {name: first.setdefault(parameter, name) for name, parameter in named}
        firsts = dict.fromkeys(tied.get(name, name) for name in wanted)
        whole = self.whole({name: state[name] for name in firsts})
        return {name: whole[tied.get(name, name)] for name in wanted} if self.main else {}

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for name, tensor in tensors.items():
            whole = self._full(tensor)
            if self.main:
                found[name] = tensor if whole is tensor else whole.cpu()
        return found

    @staticmethod
    def _full(tensor: Any) -> Tensor:
        """A sliced tensor put together; any other as it is."""
        from torch.distributed.tensor import DTensor

        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def own(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        from torch.distributed.tensor import DTensor, distribute_tensor

        parameters = dict(self.root.named_parameters())
        found = {}
        for name, tensor in tensors.items():
            like: Any = parameters.get(name.rpartition("/")[0])
            if isinstance(like, DTensor) and tensor.shape == like.shape:
                there = tensor.to(like.device)
                tensor = distribute_tensor(
                    there, like.device_mesh, like.placements, src_data_rank=None
                )
            found[name] = tensor
        return found

    def close(self) -> None:
        from torch.distributed.tensor import DTensor

        self._put_back()
        whole: dict[nn.Parameter, nn.Parameter] = {}
        for module in self.root.modules():
            own = module.named_parameters(recurse=False, remove_duplicate=False)
            for name, sliced in list(own):
                if not isinstance(sliced, DTensor):
                    continue
                if sliced not in whole:
                    tensor = self._full(sliced.detach()).cpu()
                    whole[sliced] = nn.Parameter(tensor, sliced.requires_grad)
                setattr(module, name, whole[sliced])
        for module, hooks in self._before.items():
            _undo(module, hooks)

    @property
    def _device(self) -> torch.device:
        return next(self.root.parameters()).device

    def _after_forward(self, *_: Any) -> None:
        # Without a backward pass nothing else would put the root's slices back.
        if not torch.is_grad_enabled():
            self._put_back()

    def _put_back(self) -> None:
        for module in self._sharded:
            module.reshard()


def _units(root: nn.Module) -> list[nn.Module]:
    """What is gathered by itself, when it runs."""
    model = getattr(root, "model", None)
    if not isinstance(model, VisionLanguageModel):
        return []
    stacks = model.llm.stacks if isinstance(model.llm, LLM) else []
    units: list[nn.Module] = [layer for stack in stacks for layer in stack]
    if model.encoder is not None and learns(model.encoder):
        units += model.encoder.encoder_layers
    return units


def _copied(root: nn.Module, device: torch.device) -> list[nn.Parameter]:
    """Parameters that every process holds whole, on its device."""
    encoder = getattr(getattr(root, "model", None), "encoder", None)
    if encoder is None or learns(encoder):
        return []
    return list(encoder.to(device).parameters())


def _hooks(module: nn.Module) -> dict[str, Any]:
    """The module's dictionaries of hooks, by name, as they are now, and its class."""
    there = {name: value for name, value in vars(module).items() if isinstance(value, dict)}
    hooks = {name: value.copy() for name, value in there.items() if "_hooks" in name}
    return {"__class__": type(module), **hooks}


def _undo(module: nn.Module, before: dict[str, Any]) -> None:
    """Take back what `fully_shard` did to a module: torch has no call for it."""
    from torch.distributed._composable.contract import REGISTRY_KEY, STATE_KEY
    from torch.distributed._composable_state import _module_state_mapping

    for name, value in before.items():
        if name == "__class__":
            module.__class__ = value
            continue
        # Handles of hooks remember the dictionary itself.
        hooks = vars(module)[name]
        hooks.clear()
        hooks.update(value)
    for name in (REGISTRY_KEY, STATE_KEY, "_is_fsdp_managed_module", "_fsdp_use_orig_params"):
        vars(module).pop(name, None)
    _module_state_mapping.pop(module, None)
