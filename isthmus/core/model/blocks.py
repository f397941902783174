"""What connectors are made of: attention of one sequence at another, feed-forward layers.

Layers that write to a residual stream have the names that `draw.py` knows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from isthmus.core.contracts import Features
from isthmus.core.model.attention import Rule, dense

Activation = Callable[[Tensor], Tensor]
Picture = tuple[Tensor, Tensor | None]
"""`batched` features of images."""


class MultiHead(nn.Module):
    """Each of `dim` numbers looks at those of `dim_seen`, through so many heads.

    Heads are `head_dim` wide each, which need not make `dim` together. `dropout` is that of
    attention weights.
    """

    def __init__(
        self,
        dim: int,
        dim_seen: int,
        heads: int,
        head_dim: int,
        *,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        width = heads * head_dim
        self.q_proj = nn.Linear(dim, width, bias=bias)
        self.k_proj = nn.Linear(dim_seen, width, bias=bias)
        self.v_proj = nn.Linear(dim_seen, width, bias=bias)
        self.out_proj = nn.Linear(width, dim, bias=bias)

    def forward(self, asks: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
        """asks (batch tokens dim), seen (batch states dim_seen) -> (batch tokens dim).

        `mask` (batch 1 tokens states), True where a token may look; each must see something.
        """
        return self.look(asks, *self.keys_values(seen), mask)

    def keys_values(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """(batch states dim_seen) -> keys and values, (batch heads states head_dim) each."""
        return self._split(self.k_proj(seen)), self._split(self.v_proj(seen))

    def look(self, asks: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """`forward` at keys and values that are there already; a batch of one serves all asks."""
        query = self._split(self.q_proj(asks))
        key, value = (x.expand(len(query), -1, -1, -1) for x in (key, value))
        dropout = self.dropout if self.training else 0.0
        rule = Rule(scale=query.shape[-1] ** -0.5, dropout=dropout, causal=False)
        found = dense(query, key, value, mask, rule)
        joined: Tensor = self.out_proj(rearrange(found, "b heads t dim -> b t (heads dim)"))
        return joined

    def _split(self, rows: Tensor) -> Tensor:
        return rearrange(rows, "b t (heads dim) -> b heads t dim", heads=self.heads)


class FeedForward(nn.Module):
    """Two layers, the first `hidden` wide. (... dim) -> (... dim)"""

    def __init__(
        self, dim: int, hidden: int, activation: Activation = functional.gelu, *, bias: bool = True
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, dim, bias=bias)
        self.activation = activation

    def forward(self, rows: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.activation(self.fc1(rows)))
        return out


def idle(*modules: nn.Module) -> Tensor | float:
    """Zero, by way of every weight that learns: of modules that a pass leaves out, since other
    processes would wait for their gradients."""
    weights = [w for module in modules for w in module.parameters() if w.requires_grad]
    if not weights or not torch.is_grad_enabled():
        return 0.0
    return 0.0 * torch.stack([weight.sum() for weight in weights]).sum()


def batched(features: Features) -> Picture:
    """(images features dim), and which are real (images features); None where all of them are,
    which attention computes faster."""
    if len(set(features.counts)) == 1:
        images = len(features.counts)
        return rearrange(features.values, "(i t) d -> i t d", i=images), None
    return features.padded()


def squared_relu(rows: Tensor) -> Tensor:
    """Primer's activation (So et al. 2021, arXiv:2109.08668), which Flamingo uses."""
    return torch.relu(rows).square()


def perceptron(
    dim_in: int, dim_out: int, depth: int, activation: type[nn.Module] = nn.GELU
) -> nn.Sequential:
    """`depth` linear layers, the activation between them. (... dim_in) -> (... dim_out)"""
    layers: list[nn.Module] = [nn.Linear(dim_in, dim_out)]
    for _ in range(depth - 1):
        layers += [activation(), nn.Linear(dim_out, dim_out)]
    return nn.Sequential(*layers)
