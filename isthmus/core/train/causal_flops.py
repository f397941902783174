"""Operations of a step of a model whose LLM is causal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.core.contracts import Batch, Pack
from isthmus.core.train.flops import NOTHING, LayerWork, Parabola, Sight, Which, features, pairs


@dataclass(frozen=True)
class Looks:
    """Blocks inside the LLM that look at states (Flamingo): operations for each state, and for
    each `pair` of a token and a state that it looks at. An image of so many features has so many
    `states`; a token looks at those of `all` images before it, or of the last alone."""

    state: float
    pair: float
    states: Parabola
    all: bool

    def step(self, pack: Pack, causal: bool) -> float:
        """Of a pack's tokens and states; `causal` False: every token at every state."""
        if pack.images is None:
            return 0.0
        states = [self.states(count) for count in features(pack.images)]
        looked = pack.num_tokens * sum(states)
        if causal:
            looked = 0.0
            stands = pack.stands.tolist()
            for (sample, before), count in zip(stands, states, strict=True):
                behind = [b for s, b in stands if s == sample and b > before]
                end = pack.segments.lengths[sample]
                looked += count * ((end if self.all else min(behind, default=end)) - before)
        return self.state * sum(states) + self.pair * looked


NO_LOOKS = Looks(0.0, 0.0, NOTHING, True)


@dataclass(frozen=True)
class CausalFlops:
    """What a stage's step takes, given how much there is of everything.

    Operations of the LLM's matrices for each token, and of its last layer and head for each
    supervised token (`row`); `layers` add attention. With `ahead`, tokens of a prefix look at
    all of it.
    """

    sight: Sight
    token: float
    row: float
    layers: tuple[LayerWork, ...]
    looks: Looks = NO_LOOKS
    ahead: bool = False

    def step(self, batches: Sequence[Batch], causal: bool = True) -> float | None:
        total = 0.0
        passes = [(layer.pair * layer.passes, layer.window) for layer in self.layers]
        for batch in batches:
            if not isinstance(batch, Pack):
                return None
            total += self.sight.step(batch) + self.looks.step(batch, causal)
            total += self.token * batch.num_tokens + self.row * batch.weight
            total += _attention(passes, batch.segments.lengths, causal)
            total += self._ahead(passes, batch) if causal else 0.0
        return total

    def repeated(self, batches: Sequence[Batch], which: Which) -> float:
        again = which(len(self.layers))
        layers = [layer for index, layer in enumerate(self.layers) if index in again]
        token = sum(layer.token for layer in layers)
        row = sum(layer.row for layer in layers)
        each = [(layer.pair, layer.window) for layer in layers]
        total = 0.0
        for batch in batches:
            if isinstance(batch, Pack):
                total += self.sight.repeated(batch, which)
                total += token * batch.num_tokens + row * batch.weight
                total += _attention(each, batch.segments.lengths) + self._ahead(each, batch)
        return total

    def _ahead(self, layers: Sequence[tuple[float, int | None]], batch: Pack) -> float:
        """What prefixes add, which look at more than is before them, and as far back as they go."""
        prefixes = (batch.segments.prefixes or ()) if self.ahead else ()
        plain = [(each, None) for each, _ in layers]
        return _attention(plain, prefixes, causal=False) - _attention(layers, prefixes)


def _attention(
    layers: Sequence[tuple[float, int | None]], lengths: Sequence[int], causal: bool = True
) -> float:
    """Operations of layers of which each says what a pair takes, and how far back it looks."""
    seen: dict[int | None, float] = {}
    for _, window in layers:
        if window not in seen:
            seen[window] = sum(pairs(length, window, causal) for length in lengths)
    return sum(each * seen[window] for each, window in layers)
