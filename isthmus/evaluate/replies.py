"""Reading answers and reviews in every form in which they are published.

    {"question_id": 7, "text": "A cat."}                   one a line, or a list of them
    {"results": {"4": 1}, "outputs": {"4": "The answer is B."}}          ScienceQA
    {"correct": [{"question_id": "4", "parsed_ans": "B"}], "incorrect": [...]}   LLaVA-1.5's
    {"v1_0": "A cat."}                                                   MM-Vet's answers
    {"v1_0": {"score": [0.5, 0.4], "content": ["0.5", "0.4"]}}           MM-Vet's grades, two runs
    {"questionId": "7", "prediction": "cat"}                             GQA
    {"overall": {}, "imgToEval": {"7": {"caption": "A cat."}}}           CHAIR
    {"question": "Is there a cat in the image?", "answer": "yes"}        POPE, in its order

Each id must stand once, and be one of the benchmark's; and each of its questions has a reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.core.contracts import Benchmark, Id, JudgedBenchmark, Reply
from isthmus.core.data.answer_reading import LETTERS
from isthmus.core.data.rows import Rows, read_json
from isthmus.errors import DataError
from isthmus.evaluate.matching import SHOWN, shown

ASKED_FIELDS = ("prompt", "question")


@dataclass(frozen=True)
class Form:
    """What a row may call its id and its words, whether they are a judge's, and whether rows
    without an id are numbered."""

    ids: tuple[str, ...] = Benchmark.id_fields
    words: tuple[str, ...] = Benchmark.reply_fields
    judged: bool = False
    numbered: bool = False


def read_answers(file: Path) -> list[Reply]:
    """A model's answers that somebody has to judge. Raises DataError."""
    (answers,) = _read(file, Form())
    return answers


def read_replies(file: Path, benchmark: Benchmark) -> list[list[Reply]]:
    """The runs that a file holds, nearly always one. Raises DataError.

    A row's words stand in the first of the benchmark's `reply_fields` that it has. One with none
    of them is a mistake in a file of answers; a judge's is one that failed, and has no words.
    """
    judged = isinstance(benchmark, JudgedBenchmark)
    form = Form(benchmark.id_fields, benchmark.reply_fields, judged, benchmark.numbered)
    return _read(file, form)


def _read(file: Path, form: Form) -> list[list[Reply]]:
    found = read_json(file)
    if isinstance(found, list):
        return [_rows(_numbered(found, form) if form.numbered else found, form)]
    if isinstance(found.get("imgToEval"), Mapping):
        found = found["imgToEval"]
    if "results" in found or "outputs" in found:
        return [_by_index(found, file)]
    if {"correct", "incorrect"} <= found.keys():
        return [_parsed_letters(found, file)]
    if any(name in found for name in form.ids):
        return [_rows([(found, f"{file}, line 1")], form)]
    if found and all(isinstance(value, Mapping) for value in found.values()):
        if form.judged and all("score" in row for row in found.values()):
            return _grades(found, file)
        rows = [({"question_id": id, **row}, f"{file}, {id}") for id, row in found.items()]
        return [_rows(rows, form)]
    if any(isinstance(value, Mapping) for value in found.values()):
        names = ", ".join(map(shown, list(found)[:SHOWN]))
        raise DataError(f"{file}: answers by question id are needed; found an object of {names}")
    return [[Reply(id, _text(text, f"{file}, {id}"), {}, str(file)) for id, text in found.items()]]


def _numbered(rows: Rows, form: Form) -> Rows:
    """Rows that say what was asked and have no id, under their number."""
    nameless = not any(name in row for row, _ in rows for name in form.ids)
    if not (nameless and all(any(name in row for name in ASKED_FIELDS) for row, _ in rows)):
        return rows
    return [({"question_id": number, **row}, at) for number, (row, at) in enumerate(rows, 1)]


def _rows(rows: Rows, form: Form) -> list[Reply]:
    replies = []
    for row, origin in rows:
        name = next((name for name in form.ids if name in row), None)
        if name is None:
            raise DataError(f"{origin}: it has none of the fields {', '.join(form.ids)}")
        words = next((field for field in form.words if field in row), None)
        if words is None and not form.judged:
            raise DataError(
                f"{origin}: one of the fields {', '.join(form.words)} must hold the reply; found "
                f"{', '.join(map(shown, list(row)[:SHOWN]))}"
            )
        text = _text(row[words], origin) if words else ""
        replies.append(Reply(_id(row[name], origin), text, row, origin))
    return replies


def _by_index(found: Mapping[str, Any], file: Path) -> list[Reply]:
    """ScienceQA's results: the text decides where there is one, else the index of the choice."""
    results, outputs = found.get("results", {}), found.get("outputs", {})
    for name, value in (("results", results), ("outputs", outputs)):
        if not isinstance(value, Mapping):
            raise DataError(f"{file}: `{name}` is a mapping of ids; found {value!r:.60}")
    replies = []
    for id in {**results, **outputs}:
        origin = f"{file}, question {id}"
        text = outputs[id] if id in outputs else _letter(results[id], origin)
        replies.append(Reply(id, _text(text, origin), {}, origin))
    return replies


def _letter(index: Any, origin: str) -> str:
    """The letter of a choice; none where the index is of no choice (-1 is written for failed)."""
    if not isinstance(index, int) or isinstance(index, bool):
        raise DataError(f"{origin}: a result is the index of a choice; found {index!r:.60}")
    return LETTERS[index] if 0 <= index < len(LETTERS) else ""


def _parsed_letters(found: Mapping[str, Any], file: Path) -> list[Reply]:
    """What LLaVA-1.5's scoring writes; which list a row is in decides nothing."""
    rows: Rows = []
    for name in ("correct", "incorrect"):
        if not isinstance(found[name], list):
            raise DataError(f"{file}: `{name}` is a list of rows; found {found[name]!r:.60}")
        for number, row in enumerate(found[name], 1):
            origin = f"{file}, {name}, record {number}"
            if not isinstance(row, dict):
                raise DataError(f"{origin}: a row is a JSON object; found {row!r:.60}")
            rows.append((row, origin))
    return _rows(rows, Form(words=("pred", "parsed_ans")))


def _grades(found: Mapping[str, Any], file: Path) -> list[list[Reply]]:
    """MM-Vet's grades: `score` has one number a run; where it has none, none was given in any."""
    runs: list[list[Reply]] = []
    lengths = (len(row["score"]) for row in found.values() if isinstance(row["score"], list))
    most = max(lengths, default=1) or 1
    for id, row in found.items():
        origin = f"{file}, {id}"
        scores = row.get("score")
        scores = scores if isinstance(scores, list) else [scores]
        scores = scores or [None] * most
        if len(scores) != len(runs) and runs:
            raise DataError(f"{origin}: {len(scores)} runs, where others have {len(runs)}")
        runs = runs or [[] for _ in scores]
        for run, score in zip(runs, scores, strict=True):
            run.append(Reply(id, _text(score, origin), row, origin))
    return runs


def _id(value: Any, origin: str) -> Id:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise DataError(f"{origin}: an id is a number or a string; found {value!r:.60}")
    return value


def _text(value: Any, origin: str) -> str:
    """The words of a reply; a number, or a list of ids in order, is written out."""
    if value is None:
        return ""
    if isinstance(value, list) and not any(isinstance(each, list) for each in value):
        return "\n".join(_text(each, origin) for each in value)
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{origin}: a reply is text; found {value!r:.60}")
