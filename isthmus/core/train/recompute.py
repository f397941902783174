"""Memory for time: which layers compute their activations again in the backward pass.

`auto` measures the stage's first step, taken with every layer but one of a kind computed again:
what that one kept, times the others, is what doing less would add to the peak.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from isthmus.core.model.layers import Forward, Layers
from isthmus.core.train.config import Recomputing
from isthmus.core.train.parallel import Parallel

Level = Literal["none", "selective", "full"]
LEVELS: tuple[Level, ...] = ("none", "selective", "full")
SHARE = 0.9
"""Of a device's memory that a step may take, by the forecast: batches differ."""


def again(level: Level, count: int) -> range:
    """Which of `count` layers are computed again."""
    return {"none": range(0), "selective": range(1, count, 2), "full": range(count)}[level]


class Memory:
    """A CUDA device's memory, in bytes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        torch.cuda.reset_peak_memory_stats(device)

    def used(self) -> int:
        return torch.cuda.memory_allocated(self.device)

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated(self.device)

    def size(self) -> int:
        return torch.cuda.get_device_properties(self.device).total_memory


class Probe:
    """One step's look at memory. The first layer of each group keeps its activations, and the
    others do not."""

    def __init__(self, layers: Layers, memory: Memory) -> None:
        self.layers, self.memory = layers, memory
        self.kept: dict[nn.Module, int] = {}
        self.before = memory.used()
        self.peak = 0
        layers.recompute(lambda count: range(1, count))
        for group in layers.groups:
            for layer in group[:2]:
                layers.wrap(layer, functools.partial(self._measured, layer, layer.forward))

    def choose(self) -> Level:
        """The least that fits. To be asked when the step is over, and `peak` was set to that
        of its backward passes: the optimizer's averages are there then, and were not before."""
        stays = self.peak + self.memory.used() - self.before
        gains = []
        for group in self.layers.groups:
            one, other = (self.kept.get(layer, 0) for layer in (group * 2)[:2])
            gains.append((len(group), one - other if len(group) > 1 else 0))
        return least(stays, gains, SHARE * self.memory.size())

    def _measured(self, layer: nn.Module, forward: Forward, *inputs: Any, **more: Any) -> Any:
        before = self.memory.used()
        output = forward(*inputs, **more)
        self.kept[layer] = max(self.kept.get(layer, 0), self.memory.used() - before)
        return output


def least(peak: float, groups: Sequence[tuple[int, int]], limit: float) -> Level:
    """The least recomputing whose forecast is within `limit` bytes. `peak` is that of a step
    with one layer kept in each of `groups`: its layers, and the bytes that keeping one takes."""
    for level in LEVELS[:-1]:
        more = sum((n - len(again(level, n)) - 1) * size for n, size in groups if n)
        if peak + more <= limit:
            return level
    return "full"


class Recompute:
    """What a stage says of it, carried out. `auto` keeps everything on a CPU."""

    def __init__(
        self,
        layers: Layers,
        level: Recomputing,
        parallel: Parallel,
        memory: Callable[[torch.device], Memory] = Memory,
    ) -> None:
        self.layers, self.parallel = layers, parallel
        self.probe: Probe | None = None
        self.level: Level = "none"
        if level != "auto":
            self._set(level)
        elif parallel.device.type == "cuda" or memory is not Memory:
            self.probe = Probe(layers, memory(parallel.device))

    def backward_done(self) -> None:
        """All backward passes of a step are over."""
        if self.probe:
            self.probe.peak = self.probe.memory.peak()

    def step_done(self) -> None:
        """The optimizer has moved."""
        if self.probe:
            choices = self.parallel.gather(self.probe.choose())
            self._set(max(choices, key=LEVELS.index))
            self.probe = None

    def _set(self, level: Level) -> None:
        self.level = level
        self.layers.recompute(functools.partial(again, level))
