"""The numbers of one benchmark as a report has them: a table whose rows are models, their
controls, and what others published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from isthmus.evaluate.published import Row
from isthmus.evaluate.results import Entry, Section
from isthmus.evaluate.scoring import Scores

Values = Mapping[str, float | None]

CONTROLS = {"blank": "grey pictures", "shuffled": "other pictures"}
FREQUENT = "most frequent answer"
MANY = 40
"""Categories that a report shows, at most: the largest ones."""


@dataclass(frozen=True)
class Line:
    """A row of the table. `kind` is model, control, frequent or published; `colour` numbers
    models; `gain` is what the model has more than this control."""

    name: str
    kind: str
    cells: tuple[str, ...]
    colour: int = 0
    interval: str = ""
    gain: str = ""
    note: str = ""


def columns_of(section: Section) -> tuple[str, list[str]]:
    """The headline's name, and every other column: categories, then further measures."""
    found = [entry.scores for entry in section.entries if entry.scores]
    categories = {label for question in section.exam.questions for label in question.labels}
    names = dict.fromkeys(name for scores in found for name in scores.by)
    first, *measures = [name for name in names if name not in categories] or [""]
    return first, [*(label for label in labels_of(section) if label in names), *measures]


def labels_of(section: Section) -> list[str]:
    """Categories, in the order of tables."""
    counts = Counter(label for each in section.exam.questions for label in each.labels)
    largest = {label for label, _ in counts.most_common(MANY)}
    first = [label for label in section.exam.benchmark.columns if label in largest]
    return [*first, *(label for label in counts if label in largest and label not in first)]


def lines(section: Section, colours: Mapping[str, int], rows: Sequence[Row]) -> list[Line]:
    """The table's rows, of the columns that `columns_of` names."""
    headline, more = columns_of(section)
    names = [headline, *more]
    found: list[Line] = []
    for entry in section.entries:
        found += _model(entry, names, colours[entry.model])
    if section.frequent:
        cells = _cells(section.frequent.by, names)
        note = "Always the answer that is right most often among questions of one category."
        found.append(Line(FREQUENT, "frequent", cells, note=note))
    found += [
        Line(row.model, "published", _cells(row.by, names), note=f"{row.source}. {row.note}")
        for row in beside(section, rows)
    ]
    return found


def beside(section: Section, rows: Sequence[Row]) -> list[Row]:
    """Published rows that have one of the section's columns."""
    headline, more = columns_of(section)
    names = {headline, *more}
    return [r for r in rows if r.benchmark == section.exam.benchmark.name and names & r.by.keys()]


def number(value: float | None, places: int = 1) -> str:
    """A score as it is printed."""
    return "-" if value is None else f"{value:.{places}f}"


def interval(scores: Scores | None) -> str:
    """`95.0 to 98.2`"""
    return " to ".join(map(number, scores.interval)) if scores and scores.interval else ""


def _model(entry: Entry, names: Sequence[str], colour: int) -> Iterator[Line]:
    scores = entry.scores
    cells = _cells(scores.by if scores else {}, names)
    spread = ""
    if scores and scores.std is not None:
        each = ", ".join(map(number, scores.runs))
        spread = f"Mean of {len(scores.runs)} runs: {each}; standard deviation {scores.std:.2f}."
    yield Line(entry.model, "model", cells, colour, interval(scores), note=spread)
    for name, looked in entry.controls.items():
        if looked.scores:
            gain = looked.gain
            words = f"{gain.difference:+.1f}, p {_p(gain.p_value)}" if gain else ""
            yield Line(
                CONTROLS.get(name, name),
                "control",
                _cells(looked.scores.by, names),
                colour,
                interval(looked.scores),
                gain=words,
            )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _cells(values: Values, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(number(values.get(name)) for name in names)
