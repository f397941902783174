"""How large the samples are, known before any picture is decoded: what plans are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from isthmus.core.contracts import Preparer
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.workers import in_order
from isthmus.errors import ImageError

CHUNK = 64
"""Samples that a worker measures at once."""


@dataclass(frozen=True)
class Sizes:
    """Tokens (visual ones included) and images of samples, in order."""

    tokens: Sequence[int]
    images: Sequence[int]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Cost:
    """What a sample costs to train on, in tokens of the LLM's layers: its tokens, its
    attention (`square` for each pair of tokens) and its images' way through the encoder.

    The defaults are about those of a 7B model that looks through a frozen CLIP ViT-L/336.
    """

    square: float = 2e-5
    image: float = 9.0

    def of(self, sizes: Sizes) -> list[float]:
        """The cost of every sample."""
        return [
            tokens + self.square * tokens**2 + self.image * images
            for tokens, images in zip(sizes.tokens, sizes.images, strict=True)
        ]


def measure(
    mixture: Mixture,
    preparer: Preparer,
    *,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    on_bad_image: Literal["fail", "skip"] = "fail",
) -> list[Sizes]:
    """Sizes of the mixture's samples, chunk by chunk: of every `world`-th chunk, from `rank`
    on. A picture whose header cannot be read has its sample count no token when bad pictures
    are skipped: loading will leave it out."""
    job = _Measure(mixture, preparer, on_bad_image == "fail")
    chunks = -(-len(mixture) // CHUNK)
    return list(in_order(job, range(rank, chunks, world), workers))


def joined(shares: Sequence[Sequence[Sizes]]) -> Sizes:
    """What `measure` found on every rank, as one."""
    count = sum(map(len, shares))
    chunks = [shares[chunk % len(shares)][chunk // len(shares)] for chunk in range(count)]
    return Sizes(
        [tokens for chunk in chunks for tokens in chunk.tokens],
        [images for chunk in chunks for images in chunk.images],
    )


@dataclass(frozen=True)
class _Measure:
    """Sizes of the samples of one chunk."""

    mixture: Mixture
    preparer: Preparer
    strict: bool

    def __call__(self, chunk: int) -> Sizes:
        last = min((chunk + 1) * CHUNK, len(self.mixture))
        pairs = [self._size(number) for number in range(chunk * CHUNK, last)]
        return Sizes([tokens for tokens, _ in pairs], [images for _, images in pairs])

    def _size(self, number: int) -> tuple[int, int]:
        sample = self.mixture[number]
        try:
            return self.preparer.length(sample), len(sample.images)
        except ImageError:
            if self.strict:
                raise
            return 0, 0
