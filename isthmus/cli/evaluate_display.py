"""What an evaluation looks like in a terminal: one table of scores, and models in pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from isthmus.cli.console import table
from isthmus.cli.score_display import number

if TYPE_CHECKING:
    from rich.console import Console

    from isthmus.evaluate.results import Entry, Section

COLUMNS = ("benchmark", "model", "score", "95 % interval", "blank", "shuffled", "most frequent")


def show_results(sections: Sequence[Section], screen: Console) -> None:
    """Every score beside its controls."""
    say = partial(screen.print, markup=False, soft_wrap=True)
    screen.print(table(COLUMNS, (_row(s, entry) for s in sections for entry in s.entries)))
    for line in _pairs(sections):
        say(line)
    for section in sections:
        waiting = [entry.model for entry in section.entries if not entry.scores]
        if waiting:
            say(
                f"{section.name}: a judge is needed to score the answers of {', '.join(waiting)}, "
                "which are written down; the same command with --judge asks one"
            )


def _row(section: Section, entry: Entry) -> tuple[str, ...]:
    scores = entry.scores
    between = " to ".join(map(number, scores.interval)) if scores and scores.interval else ""
    spread = f" (std {number(scores.std)})" if scores and scores.std is not None else ""
    controls = {name: looked.scores for name, looked in entry.controls.items()}
    blank, shuffled = controls.get("blank"), controls.get("shuffled")
    return (
        section.name,
        entry.model,
        number(scores.score) + spread if scores else "not judged",
        between,
        number(blank.score) if blank else "-",
        number(shuffled.score) if shuffled else "-",
        number(section.frequent.score) if section.frequent else "-",
    )


def _pairs(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        for pair in section.pairs:
            found = pair.comparison
            yield (
                f"{section.name}: {pair.second} less {pair.first} is {found.difference:+.2f}, "
                f"p = {found.p_value:.2g}"
            )
