"""BERT, read in three ways: text alone, text that looks at a picture, and text word by word.

The layers are those of BERT (Devlin et al. 2018, arXiv:1810.04805); cross-attention stands between
self-attention and the feed-forward layers. In BLIP (Li et al. 2022, arXiv:2201.12086) every block
looks, and words are written by a self-attention of their own; in ALBEF (Li et al. 2021,
arXiv:2107.07651) the first blocks read a text `alone`, and the others look. There is one segment:
what BERT adds to all tokens of the first is part of the positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isthmus.core.model.blocks import FeedForward, MultiHead, idle
from isthmus.errors import PartError

EPS = 1e-12
"""What BERT adds to a variance."""


@dataclass(frozen=True)
class BertShape:
    """Sizes of a BERT. Without `visual_dim`, the width of what it looks at, it cannot look; of the
    blocks that can, the first `alone` do not, and by them a text alone is read (0: by all). Where
    it `writes`, causal text has a self-attention of its own."""

    dim: int
    layers: int
    heads: int
    hidden: int
    positions: int
    words: int
    visual_dim: int | None = None
    dropout: float = 0.0
    alone: int = 0
    writes: bool = False


@dataclass
class Written:
    """What a block keeps of words that more will follow: keys and values of the words, and of what
    they look at, (batch heads tokens head_dim) each."""

    words: tuple[Tensor, Tensor] | None = None
    seen: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Sight:
    """What tokens look at: `values` (texts features visual_dim), as far as `mask` (texts 1 tokens
    features) is True, 1 for all tokens; None, at all of them. A token to which it shows nothing
    passes by."""

    values: Tensor
    mask: Tensor | None = None
    sometimes: bool = False
    """Whether there may be tokens to which it shows nothing."""


class Bert(nn.Module):
    """(texts tokens) ids -> (texts tokens dim)."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(shape.words, shape.dim)
        self.positions = nn.Embedding(shape.positions, shape.dim)
        self.norm = nn.LayerNorm(shape.dim, eps=EPS)
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(
            BertBlock(shape, looks=number >= shape.alone) for number in range(shape.layers)
        )

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
        sight = None
        if visual is not None:
            sight = Sight(visual, None if visual_mask is None else visual_mask[:, None, None])
        at = torch.arange(tokens, device=ids.device)
        return self.run(self.placed(self.words(ids), at), own, sight, causal)

    def placed(self, words: Tensor, at: Tensor) -> Tensor:
        """Words (texts tokens dim) at their positions, (tokens) or (texts tokens)."""
        placed: Tensor = self.dropout(self.norm(words + self.positions(at)))
        return placed

    def run(
        self,
        hidden: Tensor,
        own: Tensor,
        sight: Sight | None,
        causal: bool,
        kept: list[Written] | None = None,
    ) -> Tensor:
        """(texts tokens dim) through the blocks, under the mask `own` (texts 1 tokens seen). What
        was `kept`, one of each block, stands before, and more is kept."""
        alone = self.shape.alone if sight is None else 0
        blocks = list(self.blocks)
        used = blocks[:alone] if alone else blocks
        for number, block in enumerate(used):
            hidden = block(hidden, own, sight, causal, kept[number] if kept else None)
        return hidden + idle(*blocks[len(used) :])


class BertBlock(nn.Module):
    """A layer of BERT, with a look at a picture in between where it is given one."""

    def __init__(self, shape: BertShape, looks: bool) -> None:
        super().__init__()
        dim, sizes = shape.dim, (shape.heads, shape.dim // shape.heads)
        self.dropout = nn.Dropout(shape.dropout)
        self.attention = MultiHead(dim, dim, *sizes, dropout=shape.dropout)
        self.attention_norm = nn.LayerNorm(dim, eps=EPS)
        self.writing: MultiHead | None = None
        if shape.writes:
            self.writing = MultiHead(dim, dim, *sizes, dropout=shape.dropout)
            self.writing_norm = nn.LayerNorm(dim, eps=EPS)
        self.cross: MultiHead | None = None
        if looks and shape.visual_dim is not None:
            self.cross = MultiHead(dim, shape.visual_dim, *sizes, dropout=shape.dropout)
            self.cross_norm = nn.LayerNorm(dim, eps=EPS)
        self.layers = FeedForward(dim, shape.hidden)
        self.layers_norm = nn.LayerNorm(dim, eps=EPS)

    def forward(
        self,
        hidden: Tensor,
        own: Tensor,
        sight: Sight | None,
        causal: bool,
        kept: Written | None = None,
    ) -> Tensor:
        """(texts tokens dim) -> the same."""
        attention, norm = self.attention, self.attention_norm
        unused: list[nn.Module] = []
        if self.writing is not None:
            other: tuple[MultiHead, nn.LayerNorm] = (self.writing, self.writing_norm)
            if causal:
                (attention, norm), other = other, (attention, norm)
            unused += other
        key, value = attention.keys_values(hidden)
        if kept is not None:
            if kept.words is not None:
                key, value = (torch.cat(x, 2) for x in zip(kept.words, (key, value), strict=True))
            kept.words = key, value
        found = attention.look(hidden, key, value, own)
        hidden = norm(hidden + self.dropout(found))
        if self.cross is not None and sight is not None:
            hidden = self._look(self.cross, hidden, sight, kept)
        elif self.cross is not None:
            unused += [self.cross, self.cross_norm]
        out: Tensor = self.layers_norm(hidden + self.dropout(self.layers(hidden)))
        return out + idle(*unused)

    def _look(self, cross: MultiHead, hidden: Tensor, sight: Sight, kept: Written | None) -> Tensor:
        seen = kept.seen if kept else None
        if seen is None:
            seen = cross.keys_values(sight.values)
        if kept is not None:
            kept.seen = seen
        if sight.mask is None or not sight.sometimes:
            found = cross.look(hidden, *seen, sight.mask)
            looked: Tensor = self.cross_norm(hidden + self.dropout(found))
            return looked
        # A row that may look at nothing would be not a number. It looks everywhere, in vain.
        nothing = ~sight.mask.any(dim=-1, keepdim=True)
        found = cross.look(hidden, *seen, sight.mask | nothing)
        looked = self.cross_norm(hidden + self.dropout(found))
        return torch.where(nothing[:, 0], hidden, looked)
