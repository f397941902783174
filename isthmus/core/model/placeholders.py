"""Weights that only hold a place until those of a checkpoint are loaded over them.

A model draws its weights as it is built, number by number: minutes, at 7 billion. Uninitialised
memory would do for loading, but not for trying out a decoder, and the meta device would lose
what a model computes as it is built (rotary frequencies). So one short draw is laid end to end.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

BLOCK = 1_048_573
"""Numbers that are drawn: a prime, so that no two rows of a matrix are alike."""


class Placeholders(TorchDispatchMode):
    """In this block, drawing on the CPU fills with numbers drawn before, and `draw_scaled`, which
    would look at all of them, does nothing; nor is an objective's head read that was published."""

    active: ClassVar[int] = 0
    """How many such blocks there are around."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        Placeholders.active += 1
        mode: Self = super().__enter__()  # type: ignore[no-untyped-call]
        return mode

    def __exit__(self, *raised: Any) -> None:
        Placeholders.active -= 1
        super().__exit__(*raised)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _KNOWN and args[0].device.type == "cpu":
            normal, defaults = _KNOWN[func]
            numbers = [*args[1:], *defaults[len(args) - 1 :]]
            first, second = numbers[0], numbers[1]
            filled = _tile(args[0], _block(normal))
            if normal:
                return filled.mul_(second).add_(first)
            return filled.mul_(second - first).add_(first)
        return func(*args, **(kwargs or {}))


_KNOWN = {
    torch.ops.aten.normal_.default: (True, (0.0, 1.0)),
    torch.ops.aten.uniform_.default: (False, (0.0, 1.0)),
}
"""What draws -> whether normally, and its mean and deviation or its bounds, where not given."""


def _tile(tensor: Tensor, block: Tensor) -> Tensor:
    if not tensor.is_contiguous():
        return tensor.copy_(_tile(torch.empty(tensor.shape, dtype=tensor.dtype), block))
    flat = tensor.view(-1)
    for start in range(0, len(flat), BLOCK):
        piece = flat[start : start + BLOCK]
        piece.copy_(block[: len(piece)])
    return tensor


@functools.cache
def _block(normal: bool) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    block = torch.empty(BLOCK)
    return block.normal_(generator=generator) if normal else block.uniform_(generator=generator)
