"""Several sources as one, mixed by their weights: samples by number, and the order of an epoch."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from isthmus.core.contracts import Sample, Source
from isthmus.errors import DataError


class Mixture:
    """Samples of all `sources`, numbered source after source. Picklable like they are.

    `weights` say how often an epoch uses each sample of a source: 2 is twice, 0.5 a random
    half of them. Absent, they are those of the sources' configs.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float] | None = None) -> None:
        self.sources = tuple(sources)
        self.weights = weights
        sizes = (0 if source.streams else len(source) for source in sources)
        self.starts = tuple(accumulate(sizes, initial=0))

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, number: int) -> Sample:
        if not 0 <= number < len(self):
            raise IndexError(number)
        source = bisect_right(self.starts, number) - 1
        return self.sources[source][number - self.starts[source]]

    @property
    def streamed(self) -> Source | None:
        """The source that cannot be indexed, which is then the only one."""
        return self.sources[0] if self.sources and self.sources[0].streams else None

    def samples(self) -> Iterator[Sample]:
        """All samples, source after source."""
        return (sample for source in self.sources for sample in source.stream())

    @property
    def fingerprint(self) -> str:
        """Changes when the samples, their order or their weights do."""
        parts = [f"{source.fingerprint}*{w}" for source, w in zip(*self._weighted(), strict=True)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def epoch_size(self) -> int:
        """Samples of one epoch, by the weights. Raises DataError when one of them is so small
        that its source would never be used."""
        sizes = [(len(source), w) for source, w in zip(*self._weighted(), strict=True)]
        for number, (size, weight) in enumerate(sizes):
            if not round(size * weight):
                raise DataError(
                    f"data[{number}]: at weight {weight:g}, an epoch has no sample of its {size}; "
                    "raise the weight"
                )
        return sum(round(size * weight) for size, weight in sizes)

    def epoch(self, seed: int, epoch: int) -> Tensor:
        """(samples) numbers of epoch `epoch` in their order, a function of the two arguments."""
        runs = []
        for index, (source, weight) in enumerate(zip(*self._weighted(), strict=True)):
            size = len(source)
            whole, rest = divmod(round(size * weight), size)
            own = torch.arange(size) + self.starts[index]
            drawn = torch.randperm(size, generator=generator(seed, epoch, index))[:rest]
            runs += [own.repeat(whole), own[drawn]]
        numbers = torch.cat(runs)
        return numbers[torch.randperm(len(numbers), generator=generator(seed, epoch, "order"))]

    def _weighted(self) -> tuple[Sequence[Source], Sequence[float]]:
        if self.weights is not None:
            return self.sources, self.weights
        return self.sources, [source.weight for source in self.sources]


def generator(*place: int | str) -> torch.Generator:
    """Random numbers of this place, the same ones whenever it is asked."""
    digest = hashlib.blake2b("/".join(map(str, place)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)
