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
from dataclasses import dataclass, replace
from typing import Protocol

from isthmus.core.contracts import Batch, Images, Pack, Pairs

Which = Callable[[int], Container[int]]
"""Of so many layers, those that are computed twice."""


class Seeing(Protocol):
    """A batch that may have images."""

    @property
    def images(self) -> Images | None: ...


class Flops(Protocol):
    """Operations of a stage's steps."""

    def step(self, batches: Sequence[Batch], causal: bool = True) -> float | None:
        """Operations of a step of these micro-batches, forward and backward. None for batches
        of another kind than the objective's. `causal` False counts attention as
        the whole square, as most counters do."""
        ...

    def repeated(self, batches: Sequence[Batch], which: Which) -> float:
        """Operations of computing layers a second time: `which` of the encoder's blocks where it
        learns, and of the LLM's layers, given how many there are. (torch stops a second run when
        it has what the backward pass needs: at times one matrix short of the layer's end.)"""
        ...


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
class Sight:
    """Operations of the encoder for each of its crops, of the connector for an `image` of so many
    features and to `read` so many words beside it. A frozen encoder looks `once` at an image that
    occurs twice; of one that learns `blocks` are its blocks' forward passes over a crop."""

    crop: float = 0.0
    image: Parabola = NOTHING
    read: Parabola = NOTHING
    blocks: tuple[float, ...] = ()
    once: bool = True

    def joined(self, image: Parabola, read: Parabola = NOTHING) -> Sight:
        """With what a connector takes."""
        return replace(self, image=image, read=read)

    def step(self, batch: Pack | Pairs) -> float:
        """Of a batch's images and of what is read beside them."""
        total, images = 0.0, batch.images
        if images is not None:
            total += self.look(images) + sum(self.image(count) for count in features(images))
        if batch.text is not None:
            total += sum(map(self.read, batch.text.mask.sum(dim=1).tolist()))
        return total

    def look(self, images: Images) -> float:
        """Of the encoder alone."""
        return self.crop * self._crops(images)

    def repeated(self, batch: Seeing, which: Which) -> float:
        """Of the blocks that are computed twice."""
        again = which(len(self.blocks))
        crop = sum(block for index, block in enumerate(self.blocks) if index in again)
        return crop * self._crops(batch.images) if batch.images is not None else 0.0

    def _crops(self, images: Images) -> int:
        """Those that the encoder looks at; images whose features are known have none."""
        if not self.once or not images.keys:
            return sum(images.crops)
        return sum(dict(zip(images.keys, images.crops, strict=True)).values())


NO_SIGHT = Sight()


def features(images: Images) -> list[int]:
    """How many each image has."""
    return [sum(grid.num_features for grid in grids) for grids in images.grids]


def pairs(length: int, window: int | None, causal: bool) -> float:
    """Pairs of tokens of one sample that look at each other."""
    if not causal:
        return length**2
    if window is None or length <= window:
        return length**2 / 2
    return window * length - window**2 / 2
