"""Samples that got each other's pictures: what validation compares the right ones with.

The words stay, the pictures move on by a fixed rotation, between samples with equally many.
Samples that show the same picture (five captions of one photo) are laid side by side and the
rotation is as long as the longest such row, so that nobody gets the own picture back wherever
that is possible at all.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from isthmus.core.contracts import Sample, Source
from isthmus.core.data.view import picture_name


class ShuffledPictures(Source):
    """The samples of other sources, their pictures dealt out anew by `seed`."""

    def __init__(self, sources: Sequence[Source], limit: int | None, seed: int) -> None:
        self.places = [(s, i) for s, source in enumerate(sources) for i in range(len(source))]
        self.places = self.places[:limit]
        self.sources = tuple(sources)
        self.giver = deal([picture_key(self._sample(i)) for i in range(len(self))], seed)

    @property
    def moves(self) -> bool:
        """Whether anybody gets another one's pictures."""
        return self.giver != list(range(len(self)))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        sample = self._sample(index)
        if not sample.images:
            return sample
        return replace(sample, images=self._sample(self.giver[index]).images)

    @property
    def fingerprint(self) -> str:
        return "shuffled:" + ",".join(source.fingerprint for source in self.sources)

    def _sample(self, index: int) -> Sample:
        source, place = self.places[index]
        return self.sources[source][place]


def deal(keys: Sequence[tuple[str, ...]], seed: int) -> list[int]:
    """Whose pictures each sample gets; `keys` are its own pictures' names.

    A permutation that keeps the number of pictures, and in which nobody gets pictures of its
    own names unless more than half of the samples share them.
    """
    generator = random.Random(seed)  # noqa: S311  (no secret depends on it)
    giver = list(range(len(keys)))
    for count in sorted({len(key) for key in keys} - {0}):
        rows: dict[tuple[str, ...], list[int]] = {}
        for index, key in enumerate(keys):
            if len(key) == count:
                rows.setdefault(key, []).append(index)
        order = list(rows.values())
        generator.shuffle(order)
        laid = [index for row in order for index in row]
        longest = max(len(row) for row in order)
        for place, index in enumerate(laid):
            giver[index] = laid[(place + longest) % len(laid)]
    return giver


def picture_key(sample: Sample) -> tuple[str, ...]:
    """Names of a sample's pictures, equal for equal pictures."""
    return tuple(map(picture_name, sample.images))
