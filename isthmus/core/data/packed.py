"""Packs: samples put together by their lengths, long before any is read.

Windowed best-fit decreasing: the shuffled stream of an epoch is taken in windows, and in each
the longest sample comes first and goes into the fullest pack that still has room for it. What
a pack holds follows from (seed, epoch) and the lengths alone.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice

import torch

from isthmus.core.data.mixture import Mixture, generator
from isthmus.core.data.plan import deal
from isthmus.errors import DataError, InputError

WINDOW = 4096
"""Samples packed together: at 770 tokens each, some 400 packs of 8,192."""


class PackedPlan:
    """The steps of a stage, `packs` packs of at most `capacity` tokens each. Picklable.

    `lengths` and, where known, `costs` are those of the mixture's samples, by number. Epochs
    are packed one after another, so that each uses its samples before the next begins, and
    the packs of a window come in an order that the seed draws: the longest samples are not
    learnt first. A pack has at most `most` samples. The stream ends after `epochs`, its last
    step being what is left, or after `steps`.
    """

    def __init__(
        self,
        mixture: Mixture,
        lengths: Sequence[int],
        *,
        capacity: int,
        packs: int,
        most: int | None = None,
        epochs: float | None = None,
        steps: int | None = None,
        seed: int = 0,
        costs: Sequence[float] | None = None,
    ) -> None:
        if (epochs is None) == (steps is None):
            raise InputError("a plan takes `epochs` or `steps`")
        if not any(lengths):
            raise DataError("no sample can be used: the header of every picture is unreadable")
        self.packs = packs
        end = None if epochs is None else max(1, round(epochs * mixture.epoch_size))
        # Samples by pack, end to end: a million of them are 8 MB, in every worker too.
        self._numbers, self._starts = array("q"), array("q", [0])
        self._costs = array("d")
        drawn = _drawn(mixture, lengths, capacity, most, seed, end)
        for pack in islice(drawn, None if steps is None else steps * packs):
            self._numbers.extend(pack)
            self._starts.append(len(self._numbers))
            self._costs.append(sum((costs or lengths)[number] for number in pack))

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return -(-len(self._costs) // self.packs)

    @property
    def num_samples(self) -> int:
        """Samples of all steps, one that comes twice counted twice."""
        return len(self._numbers)

    def numbers(self, step: int) -> list[int]:
        """The mixture's numbers of a step's samples, pack after pack."""
        return [number for pack in self._of(step) for number in self._pack(pack)]

    def share(self, step: int, rank: int, world: int) -> list[list[int]]:
        """The packs that process `rank` of `world` takes of a step, possibly none; shares are
        even in cost."""
        packs = self._of(step)
        dealt = deal([self._costs[pack] for pack in packs], world)
        return [self._pack(packs[index]) for index in dealt[rank]]

    def _of(self, step: int) -> range:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        return range(len(self._costs))[step * self.packs : (step + 1) * self.packs]

    def _pack(self, pack: int) -> list[int]:
        return self._numbers[self._starts[pack] : self._starts[pack + 1]].tolist()


def _drawn(
    mixture: Mixture,
    lengths: Sequence[int],
    capacity: int,
    most: int | None,
    seed: int,
    end: int | None,
) -> Iterator[list[int]]:
    """Packs of epoch after epoch, until `end` samples are used."""
    for epoch in count():
        order = mixture.epoch(seed, epoch)[:end].tolist()
        windows = packed_windows(order, lengths, capacity, most)
        for window, packs in enumerate(windows):
            source = generator(seed, epoch, "packs", window)
            for index in torch.randperm(len(packs), generator=source).tolist():
                yield packs[index]
        if end is not None:
            end -= len(order)
            if not end:
                return


def packed_windows(
    numbers: Iterable[int],
    lengths: Sequence[int],
    capacity: int,
    most: int | None = None,
    window: int = WINDOW,
) -> Iterator[list[list[int]]]:
    """The packs of each window of `numbers`, each in the stream's order. What is in a pack less
    than half full goes into the next window instead; only the last one emits it."""
    stream = iter(numbers)
    kept: list[int] = []
    while True:
        fresh = list(islice(stream, window))
        pool, last = kept + fresh, len(fresh) < window
        fit = even_fit if last else best_fit
        found = fit([lengths[number] for number in pool], capacity, most)
        packs = [[pool[index] for index in sorted(pack)] for pack in found]
        if last:
            yield packs
            return
        loads = [sum(lengths[number] for number in pack) for pack in packs]
        full = [
            2 * load >= capacity or len(pack) == most
            for load, pack in zip(loads, packs, strict=True)
        ]
        kept = [n for pack, done in zip(packs, full, strict=True) if not done for n in pack]
        yield [pack for pack, done in zip(packs, full, strict=True) if done]


def best_fit(lengths: Sequence[int], capacity: int, most: int | None = None) -> list[list[int]]:
    """Indices of `lengths` in packs of at most `capacity` in sum and `most` in number, by
    best-fit decreasing; what is longer than a pack is one by itself."""
    packs: list[list[int]] = []
    rooms: list[tuple[int, int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        at = bisect_left(rooms, (lengths[index], 0))
        if at == len(rooms):
            rooms.append((capacity, len(packs)))
            packs.append([])
        room, pack = rooms.pop(at)
        packs[pack].append(index)
        if room > lengths[index] and len(packs[pack]) != most:
            insort(rooms, (room - lengths[index], pack))
    return packs


def even_fit(lengths: Sequence[int], capacity: int, most: int | None = None) -> list[list[int]]:
    """As many packs as `best_fit` needs, none fuller than it must be: the least capacity for
    which they suffice, by halving what lies between."""
    packs = best_fit(lengths, capacity, most)
    wanted = len(packs)
    least = -(-sum(lengths) // max(1, wanted))
    while least < capacity:
        middle = (least + capacity) // 2
        found = best_fit(lengths, middle, most)
        if len(found) > wanted:
            least = middle + 1
        else:
            packs, capacity = found, middle
    return packs
