"""Which samples every optimizer step sees: decided by (seed, epoch) alone, before any is read.

A step has the same samples however many processes share it, so a run can go on at any step
with nothing but the step's number.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count
from math import ceil
from typing import Any

from isthmus.core.data.mixture import Mixture
from isthmus.errors import DataError, InputError


class Plan:
    """The steps of a stage. Small and picklable.

    Epochs follow one another in one stream of samples, and steps cut it: every `samples`, or
    where the next sample would make more than `tokens`, as `lengths` has them by the
    mixture's numbers (a longer sample is a step of its own). `costs` are what processes share
    evenly, by number too; absent, the lengths. The stream ends after `epochs`, its last step
    being what is left, or after `steps`. Without `shuffle`, an epoch is every sample once, in
    order.
    """

    def __init__(
        self,
        mixture: Mixture,
        *,
        samples: int | None = None,
        tokens: int | None = None,
        epochs: float | None = None,
        steps: int | None = None,
        seed: int = 0,
        lengths: Sequence[int] | None = None,
        costs: Sequence[float] | None = None,
        shuffle: bool = True,
    ) -> None:
        if (samples is None) == (tokens is None) or (epochs is None) == (steps is None):
            raise InputError("a plan takes `samples` or `tokens`, and `epochs` or `steps`")
        self.mixture = mixture
        self.seed = seed
        self.lengths = lengths
        self.costs = costs or lengths
        self.shuffle = shuffle
        self.epoch_size = mixture.epoch_size if shuffle else len(mixture)
        self._orders: dict[int, list[int]] = {}
        end = None if epochs is None else max(1, round(epochs * self.epoch_size))
        if samples is not None:
            end = samples * (steps or 0) if end is None else end
            self.bounds = [*range(0, end, samples), end]
        else:
            self.bounds = self._token_bounds(tokens or 1, end, steps)

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return len(self.bounds) - 1

    @property
    def num_samples(self) -> int:
        """Samples of all steps, one that comes twice counted twice."""
        return self.bounds[-1]

    def numbers(self, step: int) -> list[int]:
        """The mixture's numbers of a step's samples, in order."""
        if not 0 <= step < self.steps:
            raise IndexError(step)
        return [self._number(at) for at in range(self.bounds[step], self.bounds[step + 1])]

    def share(self, step: int, rank: int, world: int) -> list[list[int]]:
        """What process `rank` of `world` sees of a step, possibly nothing: one group, to be
        divided into micro-batches. Shares are even in cost where it is known (or lengths
        are), else in samples."""
        numbers = self.numbers(step)
        if self.costs is None:
            return [numbers[rank::world]]
        dealt = deal([self.costs[number] for number in numbers], world)
        return [[numbers[index] for index in dealt[rank]]]

    def _number(self, position: int) -> int:
        """The sample at a position of the stream."""
        epoch, place = divmod(position, self.epoch_size)
        if not self.shuffle:
            return place
        if epoch not in self._orders:
            # Two epochs at most: the one under way, and the one that a step runs over into.
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = self.mixture.epoch(self.seed, epoch).tolist()
        return self._orders[epoch][place]

    def _token_bounds(self, tokens: int, end: int | None, steps: int | None) -> list[int]:
        if self.lengths is None:
            raise InputError("steps of so many tokens need the samples' lengths (`measure`)")
        if not any(self.lengths):
            raise DataError("no sample can be used: the header of every picture is unreadable")
        bounds, load = [0], 0
        for position in range(end) if end is not None else count():
            length = self.lengths[self._number(position)]
            if position > bounds[-1] and load + length > tokens:
                bounds.append(position)
                load = 0
                if steps is not None and len(bounds) > steps:
                    return bounds
            load += length
        return [*bounds, end or 0]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_orders": {}}


def deal(costs: Sequence[float], hands: int, most: int | None = None) -> list[list[int]]:
    """Indices of `costs` dealt into `hands`, evenly by their sums: the dearest first, each to
    the hand with the least so far, none getting over `most`. A hand keeps its order."""
    dealt: list[list[int]] = [[] for _ in range(hands)]
    free: list[tuple[float, int]] = [(0, hand) for hand in range(hands)]
    for index in sorted(range(len(costs)), key=lambda index: (-costs[index], index)):
        load, hand = heapq.heappop(free)
        dealt[hand].append(index)
        if most is None or len(dealt[hand]) < most:
            heapq.heappush(free, (load + costs[index], hand))
    return [sorted(hand) for hand in dealt]


def micro_batches(
    lengths: Sequence[int], samples: int | None = None, tokens: int | None = None
) -> list[list[int]]:
    """Indices of `lengths` in as few and as even groups as hold at most so many `samples` and
    `tokens` each; what has more tokens by itself is alone."""
    hands = max(
        min(1, len(lengths)),
        ceil(len(lengths) / samples) if samples else 0,
        ceil(sum(lengths) / tokens) if tokens else 0,
    )
    while True:
        dealt = deal(lengths, min(hands, len(lengths)), samples)
        loads = [sum(lengths[index] for index in hand) for hand in dealt]
        if all(
            tokens is None or load <= tokens or len(hand) == 1
            for hand, load in zip(dealt, loads, strict=True)
        ):
            return [hand for hand in dealt if hand]
        hands += 1
