"""Questions with their answers in JSON or JSONL, for benchmarks of anybody's own.

{"question_id": 7, "image": "7.png", "text": "What is it?", "answer": "a cat", "category": "what"}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from isthmus.core.contracts import Question
from isthmus.core.data.rows import read_rows
from isthmus.errors import DataError

Row = Mapping[str, Any]

ID_FIELDS = ("question_id", "id")
PROMPT_FIELDS = ("text", "question", "prompt")
REFERENCE_FIELDS = ("answers", "answer", "references", "reference", "relevant", "label")
OPTION_FIELDS = ("options", "choices")
LABEL_FIELDS = ("category", "labels", "type")

IMAGE = "<image>"
"""Where a prompt may say an image to stand; else images stand before the words."""


def read_question_file(
    file: Path, written: Callable[[Row, str], Row] = lambda row, origin: row
) -> list[Question]:
    """Every row as a question; several fields may be called as the lists above say, and those of
    images, references, options and labels hold one value or a list. `written` is given each row and
    its origin, and may write it otherwise. Raises DataError."""
    questions: list[Question] = []
    seen: dict[str, str] = {}
    for row, origin in read_rows(file):
        question = _question(written(row, origin), origin)
        if question.key in seen:
            raise DataError(f"{origin}: the id {question.id!r} is that of {seen[question.key]}")
        seen[question.key] = origin
        questions.append(question)
    return questions


def _question(row: Mapping[str, Any], origin: str) -> Question:
    id, references = _first(row, ID_FIELDS), _several(row, REFERENCE_FIELDS, origin)
    if not isinstance(id, int | str) or isinstance(id, bool):
        raise DataError(f"{origin}: question_id: a number or a string is needed; found {id!r:.60}")
    if not references:
        raise DataError(f"{origin}: no answer; write it in one of {', '.join(REFERENCE_FIELDS)}")
    images = _several(row, ("image", "images"), origin)
    return Question(
        id=id,
        prompt=str(_first(row, PROMPT_FIELDS) or ""),
        images=images,
        references=references,
        options=_several(row, OPTION_FIELDS, origin),
        labels=_several(row, LABEL_FIELDS, origin),
        cluster=" ".join(images),
    )


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _several(row: Mapping[str, Any], names: tuple[str, ...], origin: str) -> tuple[str, ...]:
    found = _first(row, names)
    values = found if isinstance(found, list) else [] if found is None else [found]
    for value in values:
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise DataError(f"{origin}: {' or '.join(names)}: text is needed; found {value!r:.60}")
    return tuple(map(str, values))
