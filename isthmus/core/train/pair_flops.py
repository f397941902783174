"""Operations of a step of a model whose LLM is an encoder-decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.core.contracts import Batch, Pairs
from isthmus.core.train.flops import Sight, Which, pairs


@dataclass(frozen=True)
class StackWork:
    """A stack of layers alike: operations of its matrices for each token and for each token of the
    memory, of attention for each pair of its own tokens, and for each pair of one of its own and
    one of the memory's."""

    token: float = 0.0
    memory: float = 0.0
    own: float = 0.0
    across: float = 0.0

    def step(self, batch: Pairs, decoder: bool, causal: bool) -> float:
        """Of a batch, as its encoder or decoder."""
        segments = batch.segments if decoder else batch.sources
        lengths, memories = segments.lengths, batch.sources.lengths
        looks = sum(pairs(length, None, causal and decoder) for length in lengths)
        both = sum(a * b for a, b in zip(lengths, memories, strict=True))
        total = self.token * sum(lengths) + self.own * looks
        return total + self.memory * sum(memories) + self.across * both


@dataclass(frozen=True)
class PairFlops:
    """What a stage's step takes, forward and backward (`encoder`, `decoder`), what the stacks
    take forward alone, how many layers each has, and what the head takes for each supervised
    token (`row`)."""

    sight: Sight
    encoder: StackWork
    decoder: StackWork
    forward: tuple[StackWork, StackWork]
    layers: tuple[int, int]
    row: float

    def step(self, batches: Sequence[Batch], causal: bool = True) -> float | None:
        total = 0.0
        for batch in batches:
            if not isinstance(batch, Pairs):
                return None
            total += self.sight.step(batch) + self.row * batch.weight
            total += self.encoder.step(batch, False, causal)
            total += self.decoder.step(batch, True, causal)
        return total

    def repeated(self, batches: Sequence[Batch], which: Which) -> float:
        total = 0.0
        for batch in batches:
            if isinstance(batch, Pairs):
                total += self.sight.repeated(batch, which)
                for number, (stack, layers) in enumerate(
                    zip(self.forward, self.layers, strict=True)
                ):
                    again = which(layers)
                    share = sum(index in again for index in range(layers)) / layers
                    total += share * stack.step(batch, number == 1, causal=True)
        return total
