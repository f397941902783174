"""From replies to a score: outcomes, measures, groups, interval, and what could not be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from isthmus.core.contracts import Benchmark, Id, JudgedBenchmark, Outcome, Question, Reply
from isthmus.errors import DataError
from isthmus.evaluate.matching import SHOWN, matched, shown
from isthmus.evaluate.replies import read_replies
from isthmus.evaluate.sums import clusters_of, headline, measures, total

MISSING_ALLOWED = 0.01
"""Share of missing values beyond which a score is not to be relied on."""

Number = float | None
"""A measure; None where there is no value."""


@dataclass(frozen=True)
class Run:
    """One reply to every question, and what each is worth; all in the questions' order."""

    questions: tuple[Question, ...]
    replies: tuple[Reply, ...]
    outcomes: tuple[Outcome, ...]
    file: str = ""

    @property
    def reads(self) -> list[str | None]:
        """What was understood of each reply; None where nothing was."""
        return [outcome.read for outcome in self.outcomes]


@dataclass(frozen=True)
class Scores:
    """What a benchmark says about one or several runs.

    `invalid` are the questions of which a reply could not be read in some run. Those that are
    `missing`, too, had no value and are in no measure; the others are wrong answers that count.
    `second` are those of a model to compare with.
    """

    benchmark: str
    score: Number
    by: dict[str, Number]
    n_total: int
    invalid: tuple[Id, ...]
    missing: tuple[Id, ...]
    interval: tuple[float, float] | None
    runs: tuple[Number, ...] = ()
    second: Scores | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def std(self) -> Number:
        """Standard deviation over runs, dividing by their number, as MM-Vet reports it."""
        known = [run for run in self.runs if run is not None]
        return pstdev(known) if len(known) == len(self.runs) > 1 else None

    @property
    def too_many_missing(self) -> bool:
        """Whether more values are missing than a score can bear."""
        return len(self.missing) > MISSING_ALLOWED * self.n_total

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        values: dict[str, Any] = {
            "benchmark": self.benchmark,
            "score": self.score,
            "by": self.by,
            "n_valid": self.n_total - len(self.invalid),
            "n_total": self.n_total,
            "invalid": list(self.invalid),
            "missing": list(self.missing),
            "interval": list(self.interval) if self.interval else None,
        }
        if len(self.runs) > 1:
            values |= {"runs": list(self.runs), "std": self.std}
        if self.second:
            values["second"] = self.second.to_json()
        return {**values, **self.more}


def open_runs(benchmark: Benchmark, files: Iterable[Path]) -> list[Run]:
    """Every run in the files, scored question by question. Raises DataError."""
    found: list[tuple[str, Sequence[Reply]]] = []
    for file in files:
        runs = read_replies(file, benchmark)
        for number, run in enumerate(runs, 1):
            name = f"{file}, run {number}" if len(runs) > 1 else str(file)
            found.append((name, benchmark.select(run)))
    if isinstance(benchmark, JudgedBenchmark):
        first_name, first = found[0]
        for name, replies in found[1:]:
            _same_questions(first_name, first, name, replies)
        questions = tuple(benchmark.reviewed(first))
    else:
        questions = tuple(benchmark.questions())
    if not questions:
        raise DataError(f"{benchmark.name}: there is no question in it")
    return [
        run_of(benchmark, questions, matched(questions, replies, name), name)
        for name, replies in found
    ]


def run_of(
    benchmark: Benchmark, questions: Sequence[Question], replies: Sequence[Reply], file: str = ""
) -> Run:
    """The outcome of every reply; questions and replies are in one order."""
    outcomes = tuple(
        benchmark.outcome(question, reply.text)
        for question, reply in zip(questions, replies, strict=True)
    )
    return Run(tuple(questions), tuple(replies), outcomes, file)


def score(benchmark: Benchmark, runs: Sequence[Run]) -> Scores:
    """The scores of one run; of several, their mean, and each."""
    from isthmus.evaluate.intervals import interval

    questions = runs[0].questions
    clusters = clusters_of(questions)
    columns = [_columns(benchmark, run) for run in runs]
    values = [next(iter(measures(benchmark, total(run.outcomes)).values()), None) for run in runs]
    names = dict.fromkeys(name for each in columns for name in each)
    return Scores(
        benchmark=benchmark.name,
        score=_mean(values),
        by={name: _mean([each.get(name) for each in columns]) for name in names},
        n_total=len(questions),
        invalid=_where(questions, runs, lambda outcome: not outcome.is_valid),
        missing=_where(questions, runs, lambda outcome: outcome.is_missing),
        interval=interval(headline(benchmark), [run.outcomes for run in runs], clusters),
        runs=tuple(values),
    )


def compared(benchmark: Benchmark, one: Run, other: Run, scores: Scores) -> Scores:
    """The scores of `one`, with the other's and whether they differ by more than chance."""
    from isthmus.evaluate.intervals import compare

    clusters = clusters_of(one.questions)
    found = compare(headline(benchmark), one.outcomes, other.outcomes, clusters)
    more = {"comparison": asdict(found) if found else None}
    return replace(scores, second=score(benchmark, [other]), more=more)


def _columns(benchmark: Benchmark, run: Run) -> dict[str, Number]:
    """The score of each label's questions, then every measure of all questions."""
    groups: dict[str, list[Outcome]] = {name: [] for name in benchmark.columns}
    for question, outcome in zip(run.questions, run.outcomes, strict=True):
        for label in question.labels:
            groups.setdefault(label, []).append(outcome)
    first = headline(benchmark)
    columns: dict[str, Number] = {}
    for label, outcomes in groups.items():
        if outcomes:
            value = first(total(outcomes))
            columns[label] = value if math.isfinite(value) else None
    return {**columns, **measures(benchmark, total(run.outcomes))}


def _mean(values: Sequence[Number]) -> Number:
    """The mean; None where a value is missing."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _where(
    questions: Sequence[Question], runs: Sequence[Run], holds: Callable[[Outcome], bool]
) -> tuple[Id, ...]:
    """Ids of the questions of which an outcome is so, in some run."""
    return tuple(
        question.id
        for question, *outcomes in zip(questions, *(run.outcomes for run in runs), strict=True)
        if any(map(holds, outcomes))
    )


def _same_questions(
    name: str, replies: Sequence[Reply], other: str, others: Sequence[Reply]
) -> None:
    here, there = {reply.key for reply in replies}, {reply.key for reply in others}
    if here != there:
        only = sorted(here ^ there)
        raise DataError(
            f"{other}: its questions are not those of {name}; {len(only)} are in one of them "
            f"alone: {', '.join(map(shown, only[:SHOWN]))}"
        )
