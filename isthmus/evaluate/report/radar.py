"""Several models on several columns, as a radar: one's own beside published ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isthmus.evaluate.published import Row
from isthmus.evaluate.report.summary import FREQUENT, Values, beside, labels_of, number
from isthmus.evaluate.results import Section

RADIUS = 100.0
AT_FIRST = 3
"""Published rows that are shown before somebody asks for the others."""
LONGEST = 16
"""Characters of an axis' name."""


@dataclass(frozen=True)
class Axis:
    """A spoke: where it ends, where its name stands, and how that is aligned."""

    name: str
    x: float
    y: float
    text_x: float
    text_y: float
    anchor: str


@dataclass(frozen=True)
class Outline:
    """One model's polygon. `kind` is model, frequent or published; `number` tells them apart."""

    name: str
    kind: str
    number: int
    points: str
    says: str
    shown: bool = True


@dataclass(frozen=True)
class Radar:
    """Rings are (radius, what it stands for)."""

    axes: tuple[Axis, ...]
    rings: tuple[tuple[float, str], ...]
    outlines: tuple[Outline, ...]


def radar(section: Section, colours: Mapping[str, int], rows: Sequence[Row]) -> Radar | None:
    """The radar of a benchmark's categories; None with fewer than three, or nobody to compare."""
    axes = [label for label in labels_of(section) if _known(section, label)]
    if len(axes) < 3:
        return None
    found: list[tuple[str, str, int, Values]] = [
        (entry.model, "model", colours[entry.model], entry.scores.by)
        for entry in section.entries
        if entry.scores
    ]
    if section.frequent:
        found.append((FREQUENT, "frequent", 0, section.frequent.by))
    whole = [row for row in beside(section, rows) if set(axes) <= row.by.keys()]
    found += [(row.model, "published", at, row.by) for at, row in enumerate(whole)]
    if len(found) < 2 or found[0][1] != "model":
        return None
    values = [value for *_, by in found for axis in axes if (value := by.get(axis)) is not None]
    low = 10 * math.floor(min(values) / 10)
    high = max(100.0, 10.0 * math.ceil(max(values) / 10))
    spokes = [2 * math.pi * at / len(axes) for at in range(len(axes))]
    return Radar(
        axes=tuple(_axis(name, turn) for name, turn in zip(axes, spokes, strict=True)),
        rings=tuple(
            (round(RADIUS * part / 4, 2), number(low + (high - low) * part / 4, 0))
            for part in range(1, 5)
        ),
        outlines=tuple(
            Outline(
                name,
                kind,
                at,
                _points([by.get(axis) for axis in axes], spokes, low, high),
                f"{name}: " + ", ".join(f"{axis} {number(by.get(axis))}" for axis in axes),
                shown=kind != "published" or at < AT_FIRST,
            )
            for name, kind, at, by in found
        ),
    )


def _known(section: Section, label: str) -> bool:
    """Whether every model has a value there."""
    scores = [entry.scores for entry in section.entries if entry.scores]
    return bool(scores) and all(each.by.get(label) is not None for each in scores)


def _axis(name: str, turn: float) -> Axis:
    across, up = math.sin(turn), -math.cos(turn)
    anchor = "middle" if abs(across) < 0.2 else "start" if across > 0 else "end"
    short = name if len(name) <= LONGEST else name[: LONGEST - 1] + "."
    x, y = RADIUS * across, RADIUS * up
    return Axis(short, *_rounded(x, y), *_rounded(x * 1.1, y * 1.1 + 3.5), anchor)


def _points(
    values: Sequence[float | None], spokes: Sequence[float], low: float, high: float
) -> str:
    found = []
    for value, turn in zip(values, spokes, strict=True):
        far = RADIUS * ((low if value is None else value) - low) / ((high - low) or 1)
        found.append(_rounded(far * math.sin(turn), -far * math.cos(turn)))
    return " ".join(f"{x:g},{y:g}" for x, y in found)


def _rounded(x: float, y: float) -> tuple[float, float]:
    return round(x, 2), round(y, 2)
