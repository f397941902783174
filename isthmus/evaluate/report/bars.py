"""Scores by category, as bars: what a model has, how sure that is, and what its controls have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isthmus.core.contracts import Outcome
from isthmus.evaluate.intervals import interval
from isthmus.evaluate.report.summary import CONTROLS, columns_of, labels_of, number
from isthmus.evaluate.results import Entry, Section
from isthmus.evaluate.sums import clusters_of, headline


@dataclass(frozen=True)
class Bar:
    """One model in one category; all but `text` and `says` are places in percent of the width."""

    colour: int
    text: str
    says: str
    length: float = 0.0
    low: float | None = None
    high: float | None = None
    marks: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Group:
    """A category with a bar for each model. `count` questions are in it."""

    name: str
    count: int
    bars: tuple[Bar, ...]
    frequent: float | None = None


def groups(section: Section, colours: Mapping[str, int]) -> tuple[list[Group], float]:
    """Everything first, then each category; and what the full width stands for."""
    whole, _ = columns_of(section)
    labels = labels_of(section)
    entries = [entry for entry in section.entries if entry.scores]
    if not entries:
        return [], 100.0
    scale = _scale(entries, [whole, *labels])
    found = []
    for name in [whole, *(labels if len(labels) > 1 else ())]:
        every = range(len(section.exam.questions))
        questions = section.exam.questions
        places = [at for at in every if name == whole or name in questions[at].labels]
        bars = [_bar(section, each, name, places, scale, colours[each.model]) for each in entries]
        value = section.frequent.by.get(name) if section.frequent else None
        frequent = None if value is None else _place(value, scale)
        found.append(Group(name, len(places), tuple(bars), frequent))
    return found, scale


def _bar(
    section: Section, entry: Entry, name: str, places: Sequence[int], scale: float, colour: int
) -> Bar:
    value = entry.scores.by.get(name) if entry.scores else None
    if value is None:
        return Bar(colour, "-", f"{entry.model}, {name}: no value")
    marks = []
    says = f"{entry.model}, {name}: {number(value)}"
    between = _between(section, entry, places)
    if between:
        says += f" ({number(between[0])} to {number(between[1])})"
    for control, looked in entry.controls.items():
        other = looked.scores.by.get(name) if looked.scores else None
        if other is not None:
            marks.append((control, _place(other, scale)))
            says += f"; {CONTROLS.get(control, control)} {number(other)}"
    low, high = (_place(each, scale) for each in between) if between else (None, None)
    return Bar(colour, number(value), says, _place(value, scale), low, high, tuple(marks))


def _between(section: Section, entry: Entry, places: Sequence[int]) -> tuple[float, float] | None:
    """The interval of the category's score."""
    benchmark, questions = section.exam.benchmark, section.exam.questions
    numbers = clusters_of([questions[at] for at in places])
    runs: list[list[Outcome]] = [
        [each.run.outcomes[at] for at in places] for each in entry.rounds if each.run
    ]
    return interval(headline(benchmark), runs, numbers)


def _scale(entries: Sequence[Entry], names: Sequence[str]) -> float:
    """100, or the next hundred where scores are larger."""
    scores = [e.scores for e in entries] + [c.scores for e in entries for c in e.controls.values()]
    values = [each.by.get(name) or 0.0 for each in scores if each for name in names]
    return 100.0 * max(1, math.ceil(max(values, default=0.0) / 100 - 1e-9))


def _place(value: float, scale: float) -> float:
    return round(min(100.0, max(0.0, 100 * value / scale)), 3)
