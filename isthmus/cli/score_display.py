"""What scores look like in a terminal: the score, a table of its columns, what was unreadable."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from isthmus.cli.console import console, table

if TYPE_CHECKING:
    from isthmus.core.contracts import JudgedBenchmark
    from isthmus.evaluate.scoring import Scores

SHOWN = 10
"""Ids that are listed."""


def show(scores: Scores) -> None:
    """A table of every column, and what the score is made of."""
    from isthmus.evaluate.matching import shown

    screen = console()
    say = partial(screen.print, markup=False, soft_wrap=True)
    low, high = scores.interval or (None, None)
    within = f"  ({number(low)} to {number(high)}, 95 % interval)" if scores.interval else ""
    say(f"{scores.benchmark}: {number(scores.score)}{within}")
    if len(scores.runs) > 1:
        each = ", ".join(map(number, scores.runs))
        say(f"mean of {len(scores.runs)} runs: {each}; standard deviation {number(scores.std)}")
    other = scores.second.by if scores.second else {}
    columns = ("", "score", "second") if other else ("", "score")
    rows = [(shown(name), number(n), number(other.get(name))) for name, n in scores.by.items()]
    screen.print(table(columns, (row[: len(columns)] for row in rows)))
    for name, value in scores.more.items():
        say(f"{name}: {_words(value)}")
    say(f"{scores.n_total - len(scores.invalid)} of {scores.n_total} could be read")
    missing = set(scores.missing)
    wrong = [id for id in scores.invalid if id not in missing]
    for ids, what in ((wrong, "unreadable, and wrong"), (scores.missing, "missing, and left out")):
        if ids:
            rest = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
            say(f"{what}: {', '.join(map(shown, ids[:SHOWN]))}{rest}")


def say_whose(benchmark: JudgedBenchmark, questions: int) -> None:
    """Say where the questions are no known set's, so that their number is only the file's."""
    if getattr(benchmark.config, "data", None) is None and questions not in benchmark.published:
        known = " or ".join(map(str, benchmark.published))
        whose = f", not the {known} that are published" if known else ""
        typer.echo(
            f"note: the questions are the {questions} of the file{whose}; --data names them all",
            err=True,
        )


def number(value: float | None) -> str:
    """A score as tables have it."""
    return "none" if value is None else f"{value:.2f}"


def _words(value: Any) -> str:
    """A number, a text, or mappings of them, in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(map(_words, value))
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if text.isprintable() else repr(text)
