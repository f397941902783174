"""Makers of what next tokens are learnt from: packs for a causal LLM, pairs for an
encoder-decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isthmus.core.contracts import Pack, Pairs, Preparer, Sample, Tools
from isthmus.core.data.pack import Encoded, collate, count_tokens, encode_sample
from isthmus.core.data.pairs import EncodedPairs, collate_pairs, count_pair_tokens, encode_pairs

Given = Callable[[Sample], float]
"""The share of a sample's first answer that is read and not learnt, below 1. Picklable."""


def nothing(sample: Sample) -> float:
    """All of it is learnt."""
    return 0.0


def next_token_preparer(tools: Tools, given: Given = nothing) -> Preparer:
    """What suits the LLM that these tools are of."""
    return PairPreparer(tools, given) if tools.starts else PackPreparer(tools, given)


class PackPreparer(Preparer):
    """Conversations into packs."""

    def __init__(self, tools: Tools, given: Given = nothing) -> None:
        self.tools = tools
        self.given = given

    def length(self, sample: Sample) -> int:
        return count_tokens(sample, self.tools)

    def prepare(self, sample: Sample) -> Encoded:
        return encode_sample(sample, self.tools, self.given(sample))

    def collate(self, examples: Sequence[Encoded]) -> Pack:
        return collate(examples)


class PairPreparer(Preparer):
    """Conversations into sources and targets."""

    def __init__(self, tools: Tools, given: Given = nothing) -> None:
        self.tools = tools
        self.given = given

    def length(self, sample: Sample) -> int:
        return count_pair_tokens(sample, self.tools)

    def prepare(self, sample: Sample) -> EncodedPairs:
        return encode_pairs(sample, self.tools, self.given(sample))

    def collate(self, examples: Sequence[EncodedPairs]) -> Pairs:
        return collate_pairs(examples)
