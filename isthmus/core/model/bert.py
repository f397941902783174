"""BERT, read in three ways: text alone, text that looks at a picture, and text word by word.

The layers are those of BERT (Devlin et al. 2018, arXiv:1810.04805); cross-attention stands between
self-attention and the feed-forward layers, as in ALBEF and BLIP (arXiv:2201.12086). There is one
segment: what BERT adds to all tokens of the first is part of the positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isthmus.core.model.blocks import FeedForward, MultiHead
from isthmus.errors import PartError

EPS = 1e-12
"""What BERT adds to a variance."""


@dataclass(frozen=True)
class BertShape:
    """Sizes of a BERT. Without `visual_dim`, the width of what it looks at, it cannot look."""

    dim: int
    layers: int
    heads: int
    hidden: int
    positions: int
    words: int
    visual_dim: int | None = None
    dropout: float = 0.0


class Bert(nn.Module):
    """(texts tokens) ids -> (texts tokens dim)."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(shape.words, shape.dim)
        self.positions = nn.Embedding(shape.positions, shape.dim)
        self.norm = nn.LayerNorm(shape.dim, eps=EPS)
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(BertBlock(shape) for _ in range(shape.layers))

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        visual: Tensor | None = None,
        visual_mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """`mask` (texts tokens), `visual` (texts features visual_dim), `visual_mask` (texts
        features); a `causal` token sees none behind it."""
        if visual is not None and self.shape.visual_dim is None:
            raise PartError("this text encoder was built without cross-attention; it cannot look")
        tokens = ids.shape[1]
        own = mask[:, None, None]
        if causal:
            own = own & torch.ones(tokens, tokens, dtype=torch.bool, device=ids.device).tril()
        seen = None if visual_mask is None else visual_mask[:, None, None]
        at = torch.arange(tokens, device=ids.device)
        hidden = self.dropout(self.norm(self.words(ids) + self.positions(at)))
        for block in self.blocks:
            hidden = block(hidden, own, visual, seen)
        return hidden


class BertBlock(nn.Module):
    """A layer of BERT, with a look at a picture in between where it is given one."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        dim, sizes = shape.dim, (shape.heads, shape.dim // shape.heads)
        self.dropout = nn.Dropout(shape.dropout)
        self.attention = MultiHead(dim, dim, *sizes, dropout=shape.dropout)
        self.attention_norm = nn.LayerNorm(dim, eps=EPS)
        self.cross: MultiHead | None = None
        if shape.visual_dim is not None:
            self.cross = MultiHead(dim, shape.visual_dim, *sizes, dropout=shape.dropout)
            self.cross_norm = nn.LayerNorm(dim, eps=EPS)
        self.layers = FeedForward(dim, shape.hidden)
        self.layers_norm = nn.LayerNorm(dim, eps=EPS)

    def forward(
        self, hidden: Tensor, own: Tensor, visual: Tensor | None, seen: Tensor | None
    ) -> Tensor:
        """(texts tokens dim) -> the same."""
        found = self.attention(hidden, hidden, own)
        hidden = self.attention_norm(hidden + self.dropout(found))
        if self.cross is not None and visual is not None:
            found = self.cross(hidden, visual, seen)
            hidden = self.cross_norm(hidden + self.dropout(found))
        elif self.cross is not None:
            # Zero, of every weight that is not used: other processes would wait for its gradient.
            idle = [*self.cross.parameters(), *self.cross_norm.parameters()]
            hidden = hidden + 0.0 * torch.stack([weight.sum() for weight in idle]).sum()
        out: Tensor = self.layers_norm(hidden + self.dropout(self.layers(hidden)))
        return out
