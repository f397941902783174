"""How full packs are, and how evenly 8 processes share them, on the length mix of LLaVA-665K.

    python -m benchmarks.packing

`in order` is what cutting the stream at a pack's end gives. The imbalance of a step is the
largest of the processes' modelled costs over their mean; a step is one pack for each, the
epoch's last step, which has fewer, left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from statistics import fmean

from benchmarks.workload import SEED, VISUAL, describe, shapes
from isthmus.core.contracts import Sample, Source
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.packed import WINDOW, PackedPlan
from isthmus.core.data.sizes import Cost, Sizes

SAMPLES = 100_000
CAPACITIES = (2048, 4096, 8192, 16384)
RANKS = 8


class Counted(Source, name="counted"):
    """Samples that are only counted."""

    def __init__(self, config: Source.Config, count: int) -> None:
        self.config = config
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        raise IndexError(index)

    @property
    def fingerprint(self) -> str:
        return str(self.count)


def packed(sizes: Sizes, capacity: int) -> PackedPlan:
    """One epoch, a step having one pack for each process."""
    mixture = Mixture([Counted.Config().build(count=len(sizes))])
    costs = Cost().of(sizes)
    return PackedPlan(mixture, sizes.tokens, capacity=capacity, packs=RANKS, epochs=1, costs=costs)


def efficiency(plan: PackedPlan, sizes: Sizes, capacity: int) -> float:
    """Real tokens per token of room."""
    packs = sum(len(plan.share(step, 0, 1)) for step in range(plan.steps))
    return sum(sizes.tokens) / (packs * capacity)


def imbalances(plan: PackedPlan, sizes: Sizes) -> Iterator[float]:
    """The largest cost of a process over the mean, of every whole step."""
    costs = Cost().of(sizes)
    for step in range(plan.steps - 1):
        shares = [plan.share(step, rank, RANKS) for rank in range(RANKS)]
        loads = [sum(costs[number] for pack in share for number in pack) for share in shares]
        yield max(loads) / fmean(loads)


def in_order(tokens: Sequence[int], capacity: int) -> float:
    """Efficiency of filling one pack after another."""
    packs, load = 1, 0
    for length in tokens:
        if load and load + length > capacity:
            packs, load = packs + 1, 0
        load += length
    return sum(tokens) / (packs * capacity)


def main() -> None:
    """Print the figures."""
    drawn = shapes(SAMPLES)
    sizes = Sizes([shape.length for shape in drawn], [shape.images for shape in drawn])
    cost = Cost()
    print(f"workload: seed {SEED}, {VISUAL} visual tokens a picture", *describe(drawn), sep="\n  ")
    print(f"cost: tokens + {cost.square:g} tokens^2 + {cost.image:g} images; window {WINDOW:,}")
    print(f"{'capacity':>8} {'in order':>9} {'packed':>7}  max/mean of cost, {RANKS} processes")
    for capacity in CAPACITIES:
        begun = time.perf_counter()
        plan = packed(sizes, capacity)
        took = (time.perf_counter() - begun) / SAMPLES * 1e6
        uneven = sorted(imbalances(plan, sizes))
        print(
            f"{capacity:>8,} {in_order(sizes.tokens, capacity):>9.3f} "
            f"{efficiency(plan, sizes, capacity):>7.4f}  mean {fmean(uneven):.3f}, "
            f"95 % of steps under {uneven[int(0.95 * len(uneven))]:.3f}, worst {uneven[-1]:.3f}"
            f"  ({took:.0f} us a sample)"
        )


if __name__ == "__main__":
    main()
