"""Negatives drawn by how similar they are, the same ones however many processes share a step.

A draw is made by the Gumbel trick: the highest of logits with noise. The noise of two matches
follows from their samples' keys and from one number a step that the first process draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

_FIRST, _SECOND = -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
"""Odd multipliers of splitmix64 (Steele et al. 2014), as signed numbers."""
BITS = 23
"""Of a number drawn: with a half behind them they fit into fp32, which so rounds none up to 1."""


def draw(logits: Tensor, allowed: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """(rows all) each -> one allowed column of every row, drawn by softmax of its logits, and
    whether the row has any (rows)."""
    scores = (logits.float() + noise).masked_fill(~allowed, -torch.inf)
    return scores.argmax(dim=1), allowed.any(dim=1)


def gumbel(rows: Tensor, columns: Tensor, salt: Tensor) -> Tensor:
    """(rows) and (columns) int64 keys -> (rows columns) fp32 noise."""
    return -(-uniform(rows, columns, salt).log()).log()


def uniform(rows: Tensor, columns: Tensor, salt: Tensor) -> Tensor:
    """(rows) and (columns) int64 keys -> (rows columns) fp32 numbers above 0 and below 1."""
    mixed = _mix(_mix(rows + salt)[:, None] ^ columns[None])
    return ((mixed >> (64 - BITS)) & (2**BITS - 1)).float().add(0.5) / 2**BITS


def _mix(keys: Tensor) -> Tensor:
    keys = (keys ^ _shifted(keys, 30)) * _FIRST
    keys = (keys ^ _shifted(keys, 27)) * _SECOND
    return keys ^ _shifted(keys, 31)


def _shifted(keys: Tensor, by: int) -> Tensor:
    """Without the sign that torch fills in."""
    return (keys >> by) & (2 ** (64 - by) - 1)
