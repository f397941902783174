"""Batches of every optimizer step, made in data workers, and an account of what was skipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from isthmus.core.contracts import Batch, Preparer
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.packed import PackedPlan
from isthmus.core.data.plan import Plan, micro_batches
from isthmus.core.data.workers import in_order
from isthmus.errors import DataError, ImageError, Unsupervised

OnBadImage = Literal["fail", "skip"]


@dataclass(frozen=True)
class Skipped:
    """A sample that was left out of its step; `reason` names the record and the file."""

    id: str
    origin: str
    reason: str


@dataclass(frozen=True)
class StepData:
    """What one process sees of a step: its micro-batches, possibly none, and what was left
    out of them."""

    step: int
    batches: list[Batch]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class StepLoader:
    """Iterating gives the StepData of `first_step` and all steps after it, for process `rank`
    of `world`. What a step holds does not depend on where iteration began.

    `micro_samples` and `micro_tokens` bound the samples and tokens of one micro-batch. A
    picture that cannot be read is an error (`fail`), or its sample is left out (`skip`), as
    one without anything to learn always is. More than `max_skipped` of all samples of the
    plan left out is an error, `skipped` of them before `first_step` counted in.
    """

    plan: Plan | PackedPlan
    mixture: Mixture
    preparer: Preparer
    rank: int = 0
    world: int = 1
    workers: int = 0
    first_step: int = 0
    micro_samples: int | None = None
    micro_tokens: int | None = None
    on_bad_image: OnBadImage = "fail"
    max_skipped: float = 0.01
    skipped: int = 0

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole plan."""
        return self.plan.steps

    @property
    def position(self) -> Mapping[str, Any]:
        """What a resumed run needs to know beside its step: nothing."""
        return {}

    def __iter__(self) -> Iterator[StepData]:
        left_out = self.skipped
        for data in in_order(self.load, range(self.first_step, self.plan.steps), self.workers):
            left_out += len(data.skipped)
            if left_out > self.max_skipped * self.plan.num_samples / self.world:
                self._give_up(data, left_out)
            yield data

    def load(self, step: int) -> StepData:
        """One step, in this process."""
        batches: list[Batch] = []
        skipped: list[Skipped] = []
        for numbers in self.plan.share(step, self.rank, self.world):
            examples = list(self._examples(numbers, skipped))
            lengths = [example.num_tokens for example in examples]
            batches += [
                self.preparer.collate([examples[index] for index in group])
                for group in micro_batches(lengths, self.micro_samples, self.micro_tokens)
            ]
        return StepData(step, batches, tuple(skipped))

    def _examples(self, numbers: list[int], skipped: list[Skipped]) -> Iterator[Any]:
        """The samples that can be used; the others are added to `skipped`."""
        for number in numbers:
            sample = self.mixture[number]
            try:
                yield self.preparer.prepare(sample)
            except ImageError as error:
                if self.on_bad_image == "fail":
                    raise
                skipped.append(Skipped(sample.id, sample.origin, str(error)))
            except Unsupervised as error:
                skipped.append(Skipped(sample.id, sample.origin, str(error)))

    def _give_up(self, data: StepData, left_out: int) -> None:
        whose = "" if self.world == 1 else f", process {self.rank}'s part of them,"
        last = f" The last: {data.skipped[-1].reason}" if data.skipped else ""
        raise DataError(
            f"step {data.step + 1}: {left_out} samples were left out, more than the share of "
            f"{self.max_skipped:g} (`max_skipped`) of all {self.plan.num_samples}{whose} that may "
            f"be. Repair the data, or allow more.{last}"
        )
