"""Floating point operations of a step, from the shapes of the model's layers.

Counted is what the mathematics takes, not what was executed: a multiply-add is two operations;
a matrix works on real tokens and patches alone, or on supervised tokens alone where no other is
needed (the head, most of the last layer); causal attention is half of a square, over each
sample's own tokens. A matrix counts once for the forward pass, again where its input needs a
gradient and again where it learns: a trained LLM takes 6 operations per weight and token, a
frozen one above a trained connector 4. Embeddings, norms, the optimizer, recomputation and
padding count nothing.

What layers take that are computed twice to save memory is told apart from it (`repeated`).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from isthmus.core.contracts import Batch, Images, Pack


@dataclass(frozen=True)
class LayerWork:
    """A decoder layer's forward pass: operations for each token, for each supervised token
    (`row`), and for each `pair` of tokens of which one looks at the other, `window` back at
    most. `passes` are 3 where a gradient goes through its attention, else 1."""

    token: float
    row: float
    pair: float
    window: int | None
    passes: int


@dataclass(frozen=True)
class Parabola:
    """a + b x + c x^2"""

    a: float = 0.0
    b: float = 0.0
    c: float = 0.0

    def __call__(self, x: float) -> float:
        return self.a + self.b * x + self.c * x**2

    @staticmethod
    def through(one: float, two: float, three: float, unit: int = 1) -> Parabola:
        """That has these values at one, two and three units."""
        c = (three - 2 * two + one) / 2
        b = two - one - 3 * c
        return Parabola(one - b - c, b / unit, c / unit**2)


NOTHING = Parabola()


@dataclass(frozen=True)
class FlopModel:
    """What a stage's step takes, given how much there is of everything.

    Operations of the encoder for each of its crops, of the connector for an `image` of so many
    features and to `read` so many words beside it, of the LLM's matrices for each token, and of
    its last layer and head for each supervised token (`row`); `layers` add attention. A frozen
    encoder looks `once` at an image that occurs twice; of one that learns `blocks` are its
    blocks' forward passes over a crop. With `ahead`, tokens of a prefix look at all of it.
    """

    crop: float
    image: Parabola
    read: Parabola
    token: float
    row: float
    layers: tuple[LayerWork, ...]
    blocks: tuple[float, ...]
    once: bool
    ahead: bool = False

    def step(self, batches: Sequence[Batch], causal: bool = True) -> float | None:
        """Operations of a step of these micro-batches, forward and backward. None for batches
        of an objective that is not next-token prediction. `causal` False counts attention as
        the whole square, as most counters do."""
        total = 0.0
        for batch in batches:
            if not isinstance(batch, Pack):
                return None
            images = batch.images
            if images is not None:
                total += self.crop * self._crops(images)
                for grids in images.grids:
                    total += self.image(sum(grid.num_features for grid in grids))
            if batch.text is not None:
                total += sum(map(self.read, batch.text.mask.sum(dim=1).tolist()))
            total += self.token * batch.num_tokens + self.row * batch.weight
            passes = [(layer.pair * layer.passes, layer.window) for layer in self.layers]
            total += _attention(passes, batch.segments.lengths, causal)
            total += self._ahead(passes, batch) if causal else 0.0
        return total

    def repeated(self, batches: Sequence[Batch], which: Callable[[int], Container[int]]) -> float:
        """Operations of computing layers a second time: `which` of the encoder's blocks where it
        learns, and of the LLM's layers, given how many there are. (torch stops a second run when
        it has what the backward pass needs: at times one matrix short of the layer's end.)"""
        again = which(len(self.blocks))
        crop = sum(block for index, block in enumerate(self.blocks) if index in again)
        again = which(len(self.layers))
        layers = [layer for index, layer in enumerate(self.layers) if index in again]
        token = sum(layer.token for layer in layers)
        row = sum(layer.row for layer in layers)
        total = 0.0
        for batch in batches:
            if isinstance(batch, Pack):
                if batch.images is not None:
                    total += crop * self._crops(batch.images)
                total += token * batch.num_tokens + row * batch.weight
                pairs = [(layer.pair, layer.window) for layer in layers]
                total += _attention(pairs, batch.segments.lengths) + self._ahead(pairs, batch)
        return total

    def _ahead(self, layers: Sequence[tuple[float, int | None]], batch: Pack) -> float:
        """What prefixes add, which look at more than is before them, and as far back as they go."""
        prefixes = (batch.segments.prefixes or ()) if self.ahead else ()
        plain = [(each, None) for each, _ in layers]
        return _attention(plain, prefixes, causal=False) - _attention(layers, prefixes)

    def _crops(self, images: Images) -> int:
        """Those that the encoder looks at; images whose features are known have none."""
        if not self.once or not images.keys:
            return sum(images.crops)
        return sum(dict(zip(images.keys, images.crops, strict=True)).values())


def _attention(
    layers: Sequence[tuple[float, int | None]], lengths: Sequence[int], causal: bool = True
) -> float:
    """Operations of layers of which each says what a pair takes, and how far back it looks."""
    seen: dict[int | None, float] = {}
    for _, window in layers:
        if window not in seen:
            seen[window] = sum(_pairs(length, window, causal) for length in lengths)
    return sum(each * seen[window] for each, window in layers)


def _pairs(length: int, window: int | None, causal: bool) -> float:
    """Pairs of tokens of one sample that look at each other."""
    if not causal:
        return length**2
    if window is None or length <= window:
        return length**2 / 2
    return window * length - window**2 / 2
