"""Sums of counts: what every measure, interval and test is made of.

Every measure is a function of sums over questions. So a group, a resample or an exchange of
answers is a matter of adding other rows, and no measure needs an interval of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.core.contracts import Benchmark, Outcome, Question, Totals

Floats = NDArray[np.float64]
Headline = Callable[[Totals], float]
"""Sums -> the score; NaN where it has no value."""

QUESTIONS = "questions"


def total(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """Sums over the outcomes that are not missing; empty where all are."""
    sums: dict[str, float] = {}
    for outcome in outcomes:
        for name, count in (outcome.counts or {}).items():
            sums[name] = sums.get(name, 0.0) + count
        if outcome.counts is not None:
            sums[QUESTIONS] = sums.get(QUESTIONS, 0.0) + 1
    return sums


def measures(benchmark: Benchmark, sums: Totals) -> dict[str, float | None]:
    """The benchmark's measures, the headline first; None where there is no value."""
    if not sums:
        return {}
    try:
        found = benchmark.measures(sums)
    except ZeroDivisionError:
        return {}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def headline(benchmark: Benchmark) -> Headline:
    """The score as a function of sums."""

    def score(sums: Totals) -> float:
        value = next(iter(measures(benchmark, sums).values()), None)
        return math.nan if value is None else value

    return score


@dataclass(frozen=True)
class Sums:
    """Counts summed within clusters, `table` (clusters counts); the last column counts
    questions."""

    names: tuple[str, ...]
    table: Floats

    @staticmethod
    def of(outcomes: Sequence[Outcome], clusters: Sequence[int]) -> Sums:
        """Outcomes summed by cluster, which are numbered from 0."""
        counted = (outcome.counts for outcome in outcomes if outcome.counts is not None)
        names = (*dict.fromkeys(name for counts in counted for name in counts), QUESTIONS)
        column = {name: number for number, name in enumerate(names)}
        table = np.zeros((max(clusters, default=-1) + 1, len(names)))
        for outcome, cluster in zip(outcomes, clusters, strict=True):
            if outcome.counts is not None:
                for name, count in outcome.counts.items():
                    table[cluster, column[name]] += count
                table[cluster, -1] += 1
        return Sums(names, table)

    def scores(self, totals: Floats, score: Headline) -> Floats:
        """(draws counts) of sums -> (draws) of scores."""
        rows = (dict(zip(self.names, row, strict=True)) for row in totals.tolist())
        return np.array([score(row) if row[QUESTIONS] else math.nan for row in rows])


def clusters_of(questions: Sequence[Question]) -> list[int]:
    """The number of every question's cluster; a question without one stands alone."""
    numbers: dict[tuple[str, str], int] = {}
    return [
        numbers.setdefault(("", q.cluster) if q.cluster else ("alone", q.key), len(numbers))
        for q in questions
    ]
