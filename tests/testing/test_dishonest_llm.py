"""The kit catches decoders that break their promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from isthmus.plugins.llms.causal import Causal
from isthmus.testing import ContractBroken, check_llm, tiny_llm_config, tiny_tokenizer


class LeaksBetweenSamples(Causal, name="leaks_between_samples"):
    def forward(self, embeds: Tensor, segments: Any, layer_inputs: Any = None) -> Tensor:
        return super().forward(embeds, type(segments)((len(embeds),)), layer_inputs)


class SeesTheFuture(Causal, name="sees_the_future"):
    def forward(self, embeds: Tensor, segments: Any, layer_inputs: Any = None) -> Tensor:
        samples = torch.split(super().forward(embeds, segments), list(segments.lengths))
        return torch.cat([sample + sample.mean(0) for sample in samples])


class LateBreaking(Causal):
    """Honest until it is built: a decoder tries itself out before."""

    broken = False

    def __init__(self, config: Any, tokenizer_object: Any = None) -> None:
        super().__init__(config, tokenizer_object)
        self.broken = True


class ForgetsPadding(LateBreaking, name="forgets_padding"):
    def decode(self, embeds: Tensor, mask: Tensor, cache: Any = None, layer_inputs: Any = None):
        seen = torch.ones_like(mask) if self.broken else mask
        return super().decode(embeds, seen, cache, layer_inputs)


class SmallHead(LateBreaking, name="small_head"):
    def head(self, hidden: Tensor) -> Tensor:
        return super().head(hidden)[..., : 100 if self.broken else None]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (LeaksBetweenSamples, "hidden states in a pack, and of each sample alone"),
        (SeesTheFuture, "tokens that a later one changed"),
        (ForgetsPadding, r"decode: hidden states, and those of forward"),
        (SmallHead, "it speaks 100 tokens, the tokenizer 3"),
    ],
)
def test_an_llm_that_breaks_a_promise_is_caught(part: Any, message: str) -> None:
    config = part.Config(config=tiny_llm_config().config)
    with pytest.raises(ContractBroken, match=message):
        check_llm(config, tokenizer_object=tiny_tokenizer())
