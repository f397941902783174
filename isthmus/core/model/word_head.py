"""From a BERT's hidden states to words."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.core.model.bert import EPS
from isthmus.core.model.draw import draw_scaled
from isthmus.core.model.match_reader import MatchReader


class WordHead(nn.Module):
    """BERT's head over words: a layer, and the word table, whose product is the logits."""

    def __init__(self, dim: int, words: int) -> None:
        super().__init__()
        self.layer = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.bias = nn.Parameter(torch.zeros(words))

    @classmethod
    def over(cls, reader: MatchReader) -> WordHead:
        """One from scratch, behind what a reader has read or written."""
        head = cls(reader.text_dim, reader.words.num_embeddings)
        draw_scaled(head)
        head.level(reader.words)
        return head

    def forward(self, hidden: Tensor, words: nn.Embedding) -> Tensor:
        """(rows dim) -> (rows words)"""
        rows = self.norm(functional.gelu(self.layer(hidden)))
        return functional.linear(rows, words.weight, self.bias)

    def level(self, words: nn.Embedding) -> None:
        """Let logits begin at about one, be words drawn large or come small from a BERT."""
        dim = self.layer.in_features
        scale = float(words.weight.detach().std()) * dim**0.5
        nn.init.constant_(self.norm.weight, 1 / scale)
