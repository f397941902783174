"""A small benchmark, files to score with it, and the scores of files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from isthmus.core.contracts import Benchmark, Outcome, Question, Reply, Totals, percent
from isthmus.evaluate.scoring import Scores, open_runs, score

QUESTIONS = (
    Question(1, references=("A",), options=("x", "y"), labels=("odd",), cluster="one.png"),
    Question(2, references=("B",), options=("x", "y"), labels=("even",), cluster="one.png"),
    Question(3, references=("A",), options=("x", "y"), labels=("odd",), cluster="two.png"),
    Question(4, references=("B",), options=("x", "y"), labels=("even",)),
)


class Letters(Benchmark, name="letters"):
    """Right letters; `!` stands for a value that is missing."""

    def questions(self) -> Sequence[Question]:
        return QUESTIONS

    def outcome(self, question: Question, reply: str) -> Outcome:
        if reply == "!":
            return Outcome.missing()
        letter = reply if reply in ("A", "B") else None
        return Outcome.of(letter, right=letter in question.references)

    def measures(self, totals: Totals) -> dict[str, float]:
        return {"right": percent(totals["right"], totals["questions"])}


def letters() -> Benchmark:
    made: Benchmark = Letters.Config().build()
    return made


def replies(texts: Iterable[str]) -> list[Reply]:
    return [Reply(number, text) for number, text in enumerate(texts, 1)]


def write_lines(file: Path, rows: Iterable[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def scored(config: Any, *files: Path) -> Scores:
    """What the benchmark of this configuration makes of these runs."""
    benchmark = config.build()
    return score(benchmark, open_runs(benchmark, files))
