"""The Q-Former: BERT that queries run through, and text beside them where it has a text branch.

Self-attention is one for both; queries look at the picture in between, and each kind has its own
feed-forward layers. It stands here and not in the connector's file, since objectives that compare
pictures and texts run it, too: queries alone, text alone, both under one mask, and text that is
written word by word behind queries that were kept.

Source: BLIP-2 (Li et al. 2023, arXiv:2301.12597); the numbers are those of transformers'
`Blip2QFormerModel` and `InstructBlipQFormerModel`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from isthmus.core.contracts import ConnectorText
from isthmus.core.model.blocks import FeedForward, MultiHead, Picture
from isthmus.errors import PartError

EPS = 1e-12
"""What BERT adds to a variance."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a Q-Former that looks at features of `dim_in`. `hidden` is the width inside its
    feed-forward layers, `every` how many blocks there are for one that looks at the picture.
    Without `words`, the rows of its word table, it has no text branch."""

    dim_in: int
    dim: int
    layers: int
    heads: int
    hidden: int
    every: int
    queries: int
    words: int = 0
    positions: int = 0
    dropout: float = 0.0


@dataclass
class Kept:
    """Keys and values of what ran before, block by block, for text that is written behind it.

    `real` (batch kept), True where a token may be looked at; `tokens` of them are text.
    """

    blocks: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    real: Tensor | None = None
    tokens: int = 0


class QFormer(nn.Module):
    """Queries and text through BERT. A picture is `batched` features: (images features dim_in), and
    which of them are real, (images features) bool, or None where all are."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.queries = nn.Parameter(torch.randn(shape.queries, shape.dim) * shape.dim**-0.5)
        self.words = nn.Embedding(shape.words, shape.dim) if shape.words else None
        self.positions = nn.Embedding(shape.positions, shape.dim) if shape.words else None
        self.norm = nn.LayerNorm(shape.dim, eps=EPS)
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(
            Block(shape, looks=number % shape.every == 0) for number in range(shape.layers)
        )

    def look(self, picture: Picture, kept: Kept | None = None) -> Tensor:
        """Queries alone. -> (images queries dim); where `kept` is given, it is filled."""
        hidden = self._asking(len(picture[0]))
        if kept is not None:
            kept.real = hidden.new_ones(hidden.shape[:2], dtype=torch.bool)
        return self._run(hidden, hidden.shape[1], None, picture, kept)

    def read(self, text: ConnectorText) -> Tensor:
        """Text alone, as BERT reads it. -> (texts tokens dim)"""
        return self._run(self._reading(text.ids), 0, text.mask[:, None, None])

    def look_and_read(
        self, picture: Picture, text: ConnectorText, sees: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Queries with the text of each image. -> (images queries dim), (images tokens dim)

        `sees` (images or 1, queries + tokens, queries + tokens), True where the row may attend to
        the column; absent, all attend to all. Nothing attends to padding.
        """
        asking = self._asking(len(picture[0]))
        count = asking.shape[1]
        real = torch.cat([text.mask.new_ones(asking.shape[:2]), text.mask], dim=1)[:, None, None]
        own = real if sees is None else real & sees[:, None]
        hidden = torch.cat([asking, self._reading(text.ids)], dim=1)
        done = self._run(hidden, count, own, picture)
        return done[:, :count], done[:, count:]

    def write(self, text: ConnectorText, kept: Kept) -> Tensor:
        """Text that attends to what was kept and to itself up to each token, and is kept in turn.
        -> (texts tokens dim); it looks at no picture but through the queries."""
        new = text.ids.shape[1]
        before = text.mask[:, :0] if kept.real is None else kept.real
        past = before[:, None].expand(-1, new, -1)
        causal = torch.ones(new, new, dtype=torch.bool, device=text.ids.device).tril()
        own = torch.cat([past, causal & text.mask[:, None]], dim=2)[:, None]
        hidden = self._reading(text.ids, start=kept.tokens)
        kept.real = torch.cat([before, text.mask], dim=1)
        kept.tokens += new
        return self._run(hidden, 0, own, None, kept)

    def _asking(self, images: int) -> Tensor:
        asking: Tensor = self.dropout(self.norm(self.queries).expand(images, -1, -1))
        return asking

    def _reading(self, ids: Tensor, start: int = 0) -> Tensor:
        if self.words is None or self.positions is None:
            raise PartError("this Q-Former was built without a text branch, and is given text")
        at = torch.arange(start, start + ids.shape[1], device=ids.device)
        reading: Tensor = self.dropout(self.norm(self.words(ids) + self.positions(at)))
        return reading

    def _run(
        self,
        hidden: Tensor,
        queries: int,
        own: Tensor | None,
        picture: Picture | None = None,
        kept: Kept | None = None,
    ) -> Tensor:
        """(batch queries + tokens dim) through all blocks, under the mask `own` of what attends
        to what, (batch 1 rows columns)."""
        for number, block in enumerate(self.blocks):
            before = None
            if kept is not None and number < len(kept.blocks):
                before = kept.blocks[number]
            hidden, now = block(hidden, queries, own, picture, before)
            if kept is not None:
                kept.blocks[number : number + 1] = [now]
        return hidden


class Block(nn.Module):
    """A layer of BERT, whose queries also look at the picture if it `looks`."""

    def __init__(self, shape: Shape, looks: bool) -> None:
        super().__init__()
        dim, heads = shape.dim, shape.heads
        sizes = (heads, dim // heads)
        self.dropout = nn.Dropout(shape.dropout)
        self.attention = MultiHead(dim, dim, *sizes, dropout=shape.dropout)
        self.attention_norm = nn.LayerNorm(dim, eps=EPS)
        self.cross: MultiHead | None = None
        if looks:
            self.cross = MultiHead(dim, shape.dim_in, *sizes, dropout=shape.dropout)
            self.cross_norm = nn.LayerNorm(dim, eps=EPS)
        self.query = FeedForward(dim, shape.hidden)
        self.query_norm = nn.LayerNorm(dim, eps=EPS)
        self.text: FeedForward | None = None
        if shape.words:
            self.text = FeedForward(dim, shape.hidden)
            self.text_norm = nn.LayerNorm(dim, eps=EPS)

    def forward(
        self,
        hidden: Tensor,
        queries: int,
        own: Tensor | None,
        picture: Picture | None,
        before: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(batch queries + tokens dim) -> the same, and the keys and values that it looked at."""
        key, value = self.attention.keys_values(hidden)
        if before is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(before, (key, value), strict=True))
        found = self.attention.look(hidden, key, value, own)
        hidden = self.attention_norm(hidden + self.dropout(found))
        asking, reading = hidden[:, :queries], hidden[:, queries:]
        if self.cross is not None and picture is not None:
            values, mask = picture
            found = self.cross(asking, values, None if mask is None else mask[:, None, None])
            asking = self.cross_norm(asking + self.dropout(found))
        asking = self.query_norm(asking + self.dropout(self.query(asking)))
        if self.text is not None:
            reading = self.text_norm(reading + self.dropout(self.text(reading)))
        # With no text there is, an empty end keeps the text's layers in the graph.
        return torch.cat([asking, reading], dim=1), (key, value)
