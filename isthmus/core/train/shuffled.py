"""Samples that got each other's pictures: what validation compares the right ones with.

The words stay; whose pictures a sample gets is `core.data.swapping`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from isthmus.core.contracts import Sample, Source
from isthmus.core.data.swapping import deal
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


def picture_key(sample: Sample) -> tuple[str, ...]:
    """Names of a sample's pictures, equal for equal pictures."""
    return tuple(map(picture_name, sample.images))
