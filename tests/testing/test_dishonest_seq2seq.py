"""Encoder-decoders that break one promise each, and are told which."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from isthmus.core.contracts import Segments
from isthmus.errors import PartError
from isthmus.plugins.llms.seq2seq import Seq2Seq
from isthmus.testing import ContractBroken, check_llm, tiny_tokenizer

SHAPE = {
    **{"model_type": "t5", "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1},
    **{"num_heads": 2, "dropout_rate": 0.0},
}


class Leaks(Seq2Seq, name="leaks"):
    """Its memories know of each other."""

    def encode(self, embeds: Tensor, segments: Segments) -> Tensor:
        memory = super().encode(embeds, segments)
        return memory + 0.1 * memory.mean(dim=0)


class Blind(Seq2Seq, name="blind"):
    """Its decoder sees no memory."""

    def forward(self, memory: Tensor, *others: Any) -> Tensor:
        return super().forward(torch.zeros_like(memory), *others)


class Peeks(Seq2Seq, name="peeks"):
    """A word of an answer knows the one after it."""

    def forward(self, memory: Tensor, seen: Segments, embeds: Tensor, own: Segments) -> Tensor:
        hidden = super().forward(memory, seen, embeds, own)
        later = [torch.cat([run[1:], run[-1:]]) for run in embeds.split(own.lengths)]
        return hidden + 0.1 * torch.cat(later)


class Forgets(Seq2Seq, name="forgets"):
    """It answers without what it said before."""

    def decode(self, embeds: Tensor, memory: Tensor, mask: Tensor, cache: Any = None) -> Any:
        return super().decode(embeds, memory, mask, None)


class SeesPadding(Seq2Seq, name="sees_padding"):
    """Its answers depend on how the memory is padded."""

    def decode(self, embeds: Tensor, memory: Tensor, mask: Tensor, cache: Any = None) -> Any:
        return super().decode(embeds, memory, torch.ones_like(mask), cache)


class Mute(Seq2Seq, name="mute"):
    """Its decoder has nothing to begin with."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.starts = ()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Leaks, "Leaks: answers of other sources|gives other results"),
        (Blind, "Blind: an answer does not see its source's end"),
        (Peeks, "Peeks: words that a later one changed"),
        (Forgets, "Forgets.decode: hidden states, and those of forward|gives other results"),
        (SeesPadding, "SeesPadding.decode: hidden states|gives other results through its cache"),
        (Mute, "`starts` are ids that its decoder begins with"),
    ],
)
def test_what_it_breaks_is_named(part: type[Seq2Seq], message: str) -> None:
    with pytest.raises((ContractBroken, PartError), match=message):
        check_llm(part.Config(config=SHAPE), tokenizer_object=tiny_tokenizer())
