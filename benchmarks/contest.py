"""What everyone in a benchmark does: the same optimizer step over the same samples."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.models import Preset, parameters
from benchmarks.samples import Drawn
from benchmarks.workload import LONGEST, VISUAL

PACK = 4 * LONGEST
"""Tokens of a pack at 576 visual tokens a picture; fewer in proportion where those are."""


@dataclass(frozen=True)
class Task:
    """What everyone does: the samples, what is trained, where, in which arithmetic."""

    preset: Preset
    drawn: Sequence[Drawn]
    stage: int
    device: torch.device
    bf16: bool = False

    @property
    def tokens(self) -> int:
        """Real tokens of a step."""
        return sum(len(each.ids) for each in self.drawn)

    @property
    def pack(self) -> int:
        """Tokens of a pack at most."""
        return PACK * self.preset.visual // VISUAL


@dataclass
class Step:
    """One optimizer step: loss, what it took, and the gradient if asked for."""

    loss: float
    seconds: float
    gradient: list[Tensor] | None = None


class Contender(ABC):
    """Someone who can take the step. `missing` says why not, if so."""

    name: str
    missing: str = ""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.places = task.tokens
        """Tokens that a step executes, padding included."""

    @abstractmethod
    def step(self, gradient: bool = False) -> Step: ...

    def clock(self) -> float:
        """Seconds of CPU, or of the clock on the wall beside a GPU."""
        if self.task.device.type == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    def gradient(self, model: Any) -> list[Tensor]:
        """The gradient as it stands, in the order that all have in common."""
        learnt = parameters(model, self.task.stage)
        return [p.grad.detach().float().cpu().clone() for p in learnt if p.grad is not None]
