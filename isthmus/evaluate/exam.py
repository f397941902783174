"""A benchmark that is open: the questions of it that are asked, and how they may be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.core.contracts import Benchmark, JudgedBenchmark, Question
from isthmus.errors import DataError
from isthmus.evaluate.choice import chosen, cluster, others
from isthmus.evaluate.config import Control, EvaluationConfig

if TYPE_CHECKING:
    from isthmus.core.assistant.questions import Question as Asked


@dataclass(frozen=True)
class Variant:
    """One round of asking: the run of a number, from 1, or a control."""

    run: int = 1
    control: Control | None = None

    @property
    def suffix(self) -> str:
        """What its files have behind their name: nothing, `-run2`, `-blank`."""
        if self.control:
            return f"-{self.control}"
        return f"-run{self.run}" if self.run > 1 else ""

    @property
    def title(self) -> str:
        return self.control or (f"run {self.run}" if self.run > 1 else "")


class Exam:
    """The benchmark `name` of an evaluation. Opening it reads its questions. Raises DataError."""

    def __init__(self, name: str, benchmark: Benchmark, most: int | None) -> None:
        self.name = name
        self.benchmark = benchmark
        self.all: Sequence[Question] = self.benchmark.questions()
        self.places = chosen(self.all, most)
        self.questions = tuple(self.all[place] for place in self.places)
        self._files: dict[int, tuple[Path, ...]] = {}

    @property
    def judged(self) -> bool:
        """Whether its answers say nothing until somebody judged them."""
        return isinstance(self.benchmark, JudgedBenchmark)

    def variants(self, config: EvaluationConfig, blind: bool) -> list[Variant]:
        """The rounds in which a model is asked; a `blind` one needs no control, and pictures that
        cannot be exchanged are no control."""
        runs = [Variant(run) for run in range(1, config.runs + 1)]
        if blind:
            return runs
        return [*runs, *(Variant(control=each) for each in config.controls if self._moves(each))]

    def asked(self, control: Control | None = None) -> list[Asked]:
        """The questions as an assistant takes them; every picture is there. Raises DataError."""
        from isthmus.core.assistant.questions import Question as Asked
        from isthmus.core.data.askable import askable

        givers = self._givers if control == "shuffled" else self.places
        if new := sorted({*givers} - self._files.keys()):
            found = askable(self.benchmark, [self.all[place] for place in new])
            self._files |= zip(new, found, strict=True)
        return [
            Asked(
                self.all[at].id,
                self.all[at].prompt,
                self._files[giver],
                self.all[giver].images,
                options=self.all[at].options,
            )
            for at, giver in zip(self.places, givers, strict=True)
        ]

    @cached_property
    def _givers(self) -> list[int]:
        """Of the questions that are asked, whose pictures they get when they are shuffled. All
        questions take part, so that more questions change nothing for those asked before."""
        dealt = others(self.all)
        return [dealt[place] for place in self.places]

    def _moves(self, control: Control) -> bool:
        """Whether the control changes what is seen."""
        if control == "blank":
            return any(question.images for question in self.questions)
        pairs = zip(self.places, self._givers, strict=True)
        return any(cluster(self.all[at]) != cluster(self.all[giver]) for at, giver in pairs)


def open_exams(benchmarks: Mapping[str, Benchmark.Config], most: int | None) -> list[Exam]:
    """Every benchmark with its questions. Raises DataError, for all of them at once."""
    exams, wrong = [], []
    for name, config in benchmarks.items():
        try:
            exams.append(Exam(name, config.build(), most))
        except DataError as error:
            wrong.append(f"benchmarks.{name}: {error}")
    if wrong:
        raise DataError("\n  ".join(wrong))
    return exams
