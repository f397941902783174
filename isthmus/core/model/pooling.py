"""One vector for a picture out of its features: what contrastive objectives compare."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.core.contracts import Features
from isthmus.core.model.blocks import FeedForward, MultiHead, batched

Pool = Literal["cls", "mean", "attention"]
"""The first feature; the mean of all; or what a learned probe finds in them (SigLIP)."""


def tanh_gelu(rows: Tensor) -> Tensor:
    """GELU as SigLIP computes it."""
    return functional.gelu(rows, approximate="tanh")


class ImagePool(nn.Module):
    """Features, normed, pooled and mapped. (images features dim_in) -> (images dim)

    Without `dim`, nothing is mapped. `hidden` is the width of the probe's feed-forward layer.
    """

    def __init__(
        self, pool: Pool, dim_in: int, dim: int | None, heads: int, hidden: int, eps: float
    ) -> None:
        super().__init__()
        self.pool = pool
        self.norm = nn.LayerNorm(dim_in, eps=eps)
        self.map = None if dim is None else nn.Linear(dim_in, dim, bias=False)
        if pool == "attention":
            self.probe = nn.Parameter(torch.randn(1, 1, dim_in))
            self.attention = MultiHead(dim_in, dim_in, heads, dim_in // heads)
            self.probe_norm = nn.LayerNorm(dim_in, eps=eps)
            self.probe_layers = FeedForward(dim_in, hidden, tanh_gelu)

    def forward(self, features: Features) -> Tensor:
        rows, real = batched(features)
        pooled = self._pooled(rows.to(self.norm.weight.dtype), real)
        return pooled if self.map is None else self.map(pooled)

    def _pooled(self, rows: Tensor, real: Tensor | None) -> Tensor:
        if self.pool == "cls":
            first: Tensor = self.norm(rows[:, 0])
            return first
        if self.pool == "mean":
            if real is None:
                mean: Tensor = self.norm(rows.mean(dim=1))
                return mean
            kept = real[..., None]
            counts = kept.sum(dim=1)
            masked: Tensor = self.norm((rows * kept).sum(dim=1) / counts)
            return masked
        mask = None if real is None else real[:, None, None]
        probe = self.probe.expand(len(rows), -1, -1)
        found = self.attention(probe, self.norm(rows), mask)
        out: Tensor = (found + self.probe_layers(self.probe_norm(found)))[:, 0]
        return out
