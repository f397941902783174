"""The seam to Accelerate: device and processes. Nobody else in training knows them.

Accelerate reads how the run was launched (`python`, `torchrun`, `accelerate launch`) and
gives the device and the process group: NCCL on GPUs, gloo on CPU. Loaders are ours and are
never prepared: Accelerate's repeat samples to make the processes' batches even. Precision is
not its business either: its state cannot change between two runs of one Python process.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from isthmus.core.train.config import Parallelism
from isthmus.core.train.sharing import Copies, Shared
from isthmus.core.train.slices import Slices
from isthmus.errors import InputError, IsthmusError, WorkError

T = TypeVar("T")
Pause = Callable[[], list[float]]
"""What long work of one process calls while the others wait; returns what all shared, summed."""

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: the main one may be downloading a model."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of some work on one process, as the others are told."""

    result: Any = None
    error: IsthmusError | None = None

    @staticmethod
    def of(work: Callable[[], T]) -> Outcome[T]:
        try:
            return Outcome(work())
        except IsthmusError as raised:
            return Outcome(error=raised)

    @staticmethod
    def agreed(told: Sequence[Outcome[T]], own: Outcome[T]) -> list[T]:
        """The results, where there is no error among them; else this process's own, or one like
        the first."""
        for outcome in told:
            if outcome.error:
                raise own.error or outcome.error
        return [outcome.result for outcome in told]

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors of other rooms may take other arguments: what travels is what they say.
        kind = InputError if isinstance(self.error, InputError) else WorkError
        return Outcome, (self.result, kind(str(self.error)) if self.error else None)


class Parallel:
    """The processes of a run, seen from one of them."""

    def __init__(self, threads: int | None = None) -> None:
        from accelerate import Accelerator, InitProcessGroupKwargs
        from accelerate.utils import DistributedType

        cpu = not torch.accelerator.is_available()
        ours = not torch.distributed.is_initialized()
        handlers: list[Any] = []
        launched = int(os.environ.get("WORLD_SIZE", "1"))
        if launched > 1:
            own = {"backend": "gloo"} if cpu else {}
            handlers.append(InitProcessGroupKwargs(timeout=PATIENCE, **own))
        self._accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=handlers)
        if ours and torch.distributed.is_initialized():
            atexit.register(_leave_group)
        if threads:
            torch.set_num_threads(threads)
        kind = self._accelerator.distributed_type
        if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
            raise InputError(
                f"the launcher asks for {kind.value}; launch with torchrun, or with `accelerate "
                "launch --multi_gpu`, and write `parallel: fsdp` where the model is to be sharded"
            )
        if self.world != launched:
            raise InputError(
                f"{launched} processes were launched, but Accelerate joined {self.world}: "
                f"{self.device.type} does not run with several; launch one process"
            )

    @property
    def device(self) -> torch.device:
        return self._accelerator.device

    @property
    def rank(self) -> int:
        return int(self._accelerator.process_index)

    @property
    def world(self) -> int:
        return int(self._accelerator.num_processes)

    @cached_property
    def _mesh(self) -> DeviceMesh:
        return init_device_mesh(self.device.type, (self.world,))

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, root: nn.Module, mode: Parallelism = "ddp", *, bf16: bool = False) -> Shared:
        """The root module on the device, as the processes share it."""
        if self.world == 1:
            return Shared(root, self.device)
        if mode == "ddp":
            return Copies(root, self.device)
        return Slices(root, self.device, self._mesh, bf16=bf16)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value, summed over the processes."""
        if self.world == 1:
            return [float(value) for value in values]
        exact = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(exact)
        return exact.tolist()

    def gather(self, value: T) -> list[T]:
        """What every process brought, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Go on when every process is here."""
        self._accelerator.wait_for_everyone()

    def start_trackers(
        self, names: Sequence[str], out: Path, config: Mapping[str, Any]
    ) -> list[Any]:
        """Accelerate's trackers of these names, begun; for the main process to call. Those
        that write files do so below `trackers/` of the run's folder."""
        from accelerate import Accelerator

        cpu = self.device.type == "cpu"
        folder = out / "trackers"
        folder.mkdir(exist_ok=True)
        keeper = Accelerator(
            cpu=cpu, mixed_precision="no", log_with=list(names), project_dir=str(folder)
        )
        # W&B knows no project folder, and would write where the command was typed.
        options = {"wandb": {"dir": str(folder)}}
        keeper.init_trackers(out.name, config=dict(config), init_kwargs=options)
        return keeper.trackers

    def on_main(self, work: Callable[[], T]) -> T:
        """Do it on the main process alone; all get what it returned, or an error like its."""
        return self._from_main(Outcome.of(work) if self.is_main else Outcome())

    def on_main_at_length(
        self, work: Callable[[Pause], T], share: Callable[[], Sequence[float]]
    ) -> T:
        """`on_main`, for work that may take longer than processes wait for each other: it is to
        call now and then what it is given, which sums what the processes `share`."""

        def meet(at_work: float) -> list[float]:
            return self.sum([at_work, *share()])

        outcome: Outcome[T] = Outcome()
        if self.is_main:
            outcome = Outcome.of(lambda: work(lambda: meet(1.0)[1:]))
            meet(0.0)
        else:
            while meet(0.0)[0]:
                continue
        return self._from_main(outcome)

    def _from_main(self, outcome: Outcome[T]) -> T:
        told: list[Any] = [outcome]
        if self.world > 1:
            torch.distributed.broadcast_object_list(told, src=0)
        return Outcome.agreed(told, outcome)[0]

    def on_all(self, work: Callable[[], T]) -> list[T]:
        """Do it on every process; all get what each returned, by rank, or an error like that of
        the first that failed."""
        outcome = Outcome.of(work)
        return Outcome.agreed(self.gather(outcome), outcome)

    def main_first(self, work: Callable[[], T]) -> T:
        """Do it on every process, on the main one before the others: downloads happen once,
        and what is wrong is said once."""
        done: list[T] = []
        self.on_main(lambda: done.append(work()))
        return done[0] if done else work()


def _leave_group() -> None:
    if torch.distributed.is_initialized():
        gc.collect()  # what an error left behind may still hold on to the group
        torch.distributed.destroy_process_group()
