"""Rows of all processes side by side, with their gradients: what losses that compare every sample
of a step with every other are made of.

A process may have fewer rows than another, or none. The gradient of what was gathered comes back
to whoever it came from, summed over all that used it; so the loss summed over the processes has
the gradient that it has in one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Ranks:
    """How many rows each process has, and which of the processes this is."""

    counts: tuple[int, ...]
    rank: int

    @staticmethod
    def of(own: int, device: torch.device) -> Ranks:
        """Ask all of them; for all to call."""
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return Ranks((own,), 0)
        counts = _each(torch.tensor([own], device=device))
        return Ranks(tuple(int(count) for count in counts), distributed.get_rank())

    @property
    def start(self) -> int:
        """Where this process's rows begin among all."""
        return (0, *accumulate(self.counts))[self.rank]

    @property
    def total(self) -> int:
        return sum(self.counts)

    def rows(self, own: Tensor) -> Tensor:
        """(rows ...) of this process -> (all rows ...), by rank; for all processes to call."""
        if len(self.counts) == 1:
            return own
        gathered: Tensor = _Gather.apply(own, self.counts, self.rank)
        return gathered

    def longest(self, own: Tensor) -> Tensor:
        """`rows` of (rows length ...), lengths filled up with zeros to the longest anywhere."""
        if len(self.counts) == 1:
            return own
        most = torch.tensor(own.shape[1], device=own.device)
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        return self.rows(_filled(own, 1, int(most)))

    def first(self, value: Tensor) -> Tensor:
        """The first process's value."""
        if len(self.counts) == 1:
            return value
        value = value.clone()
        torch.distributed.broadcast(value, 0)
        return value


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, counts: tuple[int, ...], rank: int) -> Tensor:
        ctx.counts, ctx.rank = counts, rank
        runs = _each(_filled(own.contiguous(), 0, max(counts)))
        return torch.cat([run[:count] for run, count in zip(runs, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].contiguous()
        torch.distributed.all_reduce(gradient)
        return torch.split(gradient, ctx.counts)[ctx.rank], None, None


def _each(own: Tensor) -> list[Tensor]:
    """What every process has, of one shape."""
    runs = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(runs, own)
    return runs


def _filled(own: Tensor, dim: int, size: int) -> Tensor:
    """With zeros at the end of a dimension, up to this size."""
    after = [0, 0] * (own.ndim - dim - 1)
    return functional.pad(own, [*after, 0, size - own.shape[dim]])
