"""The samples behind the numbers, as the page's script reads them: plain values, to be JSON.

Nothing in here is markup: whatever a model, a file or a judge wrote stays text.
"""

from __future__ import annotations

import json
from typing import Any

from isthmus.core.contracts import Outcome, Question
from isthmus.evaluate.choice import chosen
from isthmus.evaluate.report.summary import labels_of
from isthmus.evaluate.report.thumbnails import Thumbnails
from isthmus.evaluate.results import Entry, Round, Section
from isthmus.evaluate.sums import headline, measures, total

SAMPLES = 5000
"""Samples of a benchmark that can be looked at, if nothing else is said."""
LONGEST = 10_000
"""Characters of a text that are shown."""


def samples(section: Section, most: int, pictures: Thumbnails) -> dict[str, Any]:
    """What the page knows of one benchmark."""
    exam, labels = section.exam, labels_of(section)
    numbers = {label: number for number, label in enumerate(labels)}
    places = chosen(exam.questions, most)
    return {
        "name": section.name,
        "models": [entry.model for entry in section.entries],
        "labels": labels,
        "total": len(exam.questions),
        "samples": [_sample(section, exam.questions[at], at, numbers, pictures) for at in places],
    }


def script_json(values: Any) -> str:
    """JSON for a script element: ASCII, and nothing in it that could end the element."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _sample(
    section: Section,
    question: Question,
    at: int,
    numbers: dict[str, int],
    pictures: Thumbnails,
) -> dict[str, Any]:
    return {
        "id": question.key,
        "question": _clipped(question.prompt),
        "options": [_clipped(option) for option in question.options],
        "references": [_clipped(each) for each in dict.fromkeys(question.references)],
        "labels": [numbers[each] for each in dict.fromkeys(question.labels) if each in numbers],
        "pictures": pictures.number(section.exam.benchmark, question),
        "answers": [_answers(section, entry, at) for entry in section.entries],
    }


def _answers(section: Section, entry: Entry, at: int) -> dict[str, Any]:
    """One model's answer, those of other runs, and what it said in the controls."""
    first, *others = (_answer(section, each, at) for each in entry.rounds)
    controls = {name: _answer(section, each.round, at) for name, each in entry.controls.items()}
    return {**first, "runs": others, "controls": controls}


def _answer(section: Section, round: Round, at: int) -> dict[str, Any]:
    found: dict[str, Any] = {"text": _clipped(round.answers[at].text)}
    if round.run is None:
        return found
    outcome = round.run.outcomes[at]
    found["read"] = None if outcome.read is None else _clipped(outcome.read)
    found["right"] = outcome.right
    found["value"] = _value(section, outcome) if outcome.right is None else None
    if section.exam.judged:
        review = round.run.replies[at]
        found["judge"] = _clipped(str(review.fields.get("content", review.text)))
    return found


def _value(section: Section, outcome: Outcome) -> float | None:
    """The score of this answer alone."""
    benchmark = section.exam.benchmark
    name = next(iter(measures(benchmark, total([outcome]))), None)
    if name is None:
        return None
    value = headline(benchmark)(total([outcome]))
    return round(value, 2) if value == value else None


def _clipped(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]} [... and {len(text) - LONGEST} more characters]"
