"""The folder of an evaluation:

    evaluation.yaml                        what was asked of whom, every setting written out
    <model>/<benchmark>/answers.jsonl      and answers-run2, answers-blank, answers-shuffled
    <model>/<benchmark>/reviews.jsonl      what a judge said of each answer, with the same endings
    <model>/<benchmark>/scores.json
    comparisons.json                       models in pairs
    report.html

A review names its answer's `answer_id`, so that none is taken for one of another answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from isthmus.core.contracts import Reply
from isthmus.core.data.rows import read_rows
from isthmus.errors import DataError, WorkError
from isthmus.evaluate.exam import Exam, Variant
from isthmus.evaluate.matching import matched
from isthmus.evaluate.replies import read_replies

SETTINGS = "evaluation.yaml"
SCORES = "scores.json"
COMPARISONS = "comparisons.json"
REPORT = "report.html"


def place_of(out: Path, model: str, benchmark: str) -> Path:
    """Where a model's answers to a benchmark are."""
    return out / model / benchmark


def answer_file(place: Path, variant: Variant) -> Path:
    return place / f"answers{variant.suffix}.jsonl"


def review_file(place: Path, variant: Variant) -> Path:
    return place / f"reviews{variant.suffix}.jsonl"


def read_answers(file: Path, exam: Exam) -> list[Reply]:
    """A model's answers, in the order of the questions. Raises DataError."""
    answers = []
    for row, origin in read_rows(file):
        id, text = row.get("question_id"), row.get("text")
        if not isinstance(id, str | int) or not isinstance(text, str):
            raise DataError(f"{origin}: an answer has question_id and text; found {row!r:.80}")
        answers.append(Reply(id, text, row, origin))
    return matched(exam.questions, answers, str(file))


def read_reviews(file: Path, exam: Exam, answers: Sequence[Reply]) -> list[Reply]:
    """A judge's reviews of these answers, in the same order. Raises DataError."""
    (found,) = read_replies(file, exam.benchmark)
    reviews = matched(exam.questions, exam.benchmark.select(found), str(file))
    for review, answer in zip(reviews, answers, strict=True):
        about = review.fields.get("answer_id")
        if about is not None and about != answer.fields.get("answer_id"):
            raise DataError(
                f"{review.origin}: it is a review of another answer to question "
                f"{review.key:.60} than {answer.origin} has; judge the answers again"
            )
    return reviews


def write_json(file: Path, values: Any) -> None:
    """Write it under another name first, so that whoever looks never sees half of it."""
    write_text(file, json.dumps(values, indent=2, allow_nan=False) + "\n")


def write_text(file: Path, text: str) -> None:
    """Likewise. Raises WorkError when the disk does not take it."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Likewise."""
    partial = file.parent / f"{file.name}.tmp"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise WorkError(f"{file}: cannot be written: {error.strerror}") from error
