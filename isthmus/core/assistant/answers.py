"""Answer files as LLaVA writes them, and how one that was interrupted goes on.

Rows `{question_id, prompt, text, answer_id, model_id, metadata}` are appended to `OUT.partial`,
which becomes OUT when every question has its answer.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from isthmus.core.assistant.questions import Question, row_of
from isthmus.errors import DataError, WorkError


class AnswerFile:
    """Answers as they come. `open` are the questions that have none yet.

    What an earlier try has answered is kept, if it was the same model, with the same settings,
    asked the same; DataError otherwise. As a context it writes; until then it only reads.
    """

    def __init__(
        self,
        path: Path,
        questions: Sequence[Question],
        model_id: str,
        metadata: Mapping[str, Any],
    ) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self.model_id = model_id
        self.metadata = dict(metadata)
        asked = {question.key: question for question in questions}
        done = self._earlier(asked)
        self.open = [question for key, question in asked.items() if key not in done]

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._take_up()
            self._file = self.partial.open("a", encoding="utf-8", newline="\n")
        except OSError as error:
            raise WorkError(f"{self.partial}: cannot be written: {error.strerror}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            os.fsync(self._file.fileno())
        if error is None:
            self.partial.replace(self.path)
        elif not self.partial.stat().st_size:
            self.partial.unlink()

    def add(self, question: Question, text: str) -> None:
        """Append one answer. Raises WorkError when the disk does not take it."""
        row = {
            "question_id": question.id,
            "prompt": question.text,
            "text": text,
            "answer_id": answer_id(self.model_id, question, self.metadata),
            "model_id": self.model_id,
            "metadata": self.metadata,
        }
        try:
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise WorkError(f"{self.partial}: cannot be written: {error.strerror}") from error

    def _take_up(self) -> None:
        """Begin `partial` with the whole rows that are there."""
        if self.partial.exists() or self.path.exists():
            copy = self.partial.with_name(self.partial.name + ".copy")
            copy.write_bytes(b"".join(row + b"\n" for row in self._whole_rows()))
            copy.replace(self.partial)

    def _whole_rows(self) -> list[bytes]:
        if self.partial.exists():
            # What follows the last newline was cut off, perhaps within a character.
            return self.partial.read_bytes().split(b"\n")[:-1]
        return self.path.read_bytes().splitlines() if self.path.exists() else []

    def _earlier(self, asked: Mapping[str, Question]) -> set[str]:
        """Keys of the questions that an earlier try has answered."""
        done: set[str] = set()
        try:
            rows = self._whole_rows()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be gone on with: {error.strerror}") from error
        for line, text in enumerate(rows, start=1):
            try:
                done.add(self._check(row_of(text), asked, done))
            except DataError as error:
                file = self.partial if self.partial.exists() else self.path
                raise DataError(
                    f"{file}, line {line}: {error}. These answers cannot be gone on with: "
                    "remove the file, or write to another one"
                ) from error
        return done

    def _check(self, row: Mapping[str, Any], asked: Mapping[str, Question], done: set[str]) -> str:
        key = json.dumps(row.get("question_id"))
        if key not in asked:
            raise DataError(f"question_id {key} is not among the questions")
        if key in done:
            raise DataError(f"question_id {key} is answered twice")
        expected = {
            "prompt": asked[key].text,
            "model_id": self.model_id,
            "metadata": self.metadata,
            "answer_id": answer_id(self.model_id, asked[key], self.metadata),
        }
        for name, value in expected.items():
            if row.get(name) != value:
                raise DataError(f"{name} is {row.get(name)!r:.80}, and would now be {value!r:.80}")
        return key


def answer_id(model_id: str, question: Question, metadata: Mapping[str, Any]) -> str:
    """One id for one question to one model with one group of settings: 22 characters of a
    sha256, as many as LLaVA's."""
    asked = [model_id, question.id, question.text, question.names, dict(metadata)]
    asked += [question.options] if question.options else []
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:22]
