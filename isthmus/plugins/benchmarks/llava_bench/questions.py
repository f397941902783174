"""Questions of LLaVA-Bench from the files of questions, contexts and reference answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from isthmus.core.contracts import Question, Reply
from isthmus.core.data.rows import Rows, one_file, read_rows
from isthmus.errors import DataError
from isthmus.plugins.benchmarks.llava_bench.sets import labels_of, wild_image


@dataclass(frozen=True)
class Files:
    """What is known of the questions; each file may be absent. Raises DataError."""

    data: Path | None
    context: Path | None
    reference: Path | None

    @cached_property
    def told(self) -> list[dict[str, Any]]:
        """The rows of the context."""
        return [row for row, _ in _rows(self.context)]

    @cached_property
    def ideal(self) -> dict[str, dict[str, Any]]:
        """Question -> its row of the reference answers."""
        return _by_id(_rows(self.reference))

    def questions(self) -> list[Question]:
        """Those of the data."""
        if self.data is None:
            raise DataError("llava_bench: give --data, the file of its questions")
        file = one_file(self.data, "*questions*.jsonl", what="LLaVA-Bench's questions")
        return [self._of_data(row, origin) for row, origin in read_rows(file)]

    def answered(self, answers: Sequence[Reply]) -> list[Question]:
        """Those of the data; without, those of the reference answers, as far as they and the
        answers say what was asked."""
        if self.data is not None or self.reference is None:
            return self.questions()
        said = {answer.key: answer.fields for answer in answers}
        questions = []
        for key, row in self.ideal.items():
            known = {**said.get(key, {}), **row}
            prompt = known.get("prompt")
            if not isinstance(prompt, str):
                raise DataError(
                    f"llava_bench: what question {key:.60} asks is neither in the answers nor in "
                    "the reference answers, as `prompt`; give --data, the file of the questions"
                )
            questions.append(self._question(row["question_id"], prompt, known))
        return questions

    def _of_data(self, row: Mapping[str, Any], origin: str) -> Question:
        id, image = row.get("question_id"), row.get("image")
        if not isinstance(id, int | str) or not isinstance(image, str):
            raise DataError(f"{origin}: a question has question_id, image, text, category")
        return self._question(id, str(row.get("text", "")), row)

    def _question(self, id: int | str, prompt: str, row: Mapping[str, Any]) -> Question:
        image = row.get("image")
        about = self._about(str(id), image)
        return Question(
            id=id,
            prompt=prompt,
            images=(image,) if isinstance(image, str) else (),
            references=(str(self.ideal.get(str(id), {}).get("text", "")),),
            labels=labels_of(row),
            cluster=image if isinstance(image, str) else str(about.get("image", "")),
            context=_described(about),
        )

    def _about(self, key: str, image: Any) -> Mapping[str, Any]:
        """The row of the context that describes what a question is about."""
        if image is not None:
            return self._by_image.get(str(image)) or self._by_image.get(Path(str(image)).stem, {})
        number = wild_image(key, len(self.told))
        return {} if number is None else self.told[number]

    @cached_property
    def _by_image(self) -> dict[str, dict[str, Any]]:
        return {str(row.get("image", row.get("id"))): row for row in self.told}


def _rows(file: Path | None) -> Rows:
    return read_rows(file) if file else []


def _by_id(rows: Rows) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row, origin in rows:
        id = row.get("question_id")
        if not isinstance(id, int | str) or not isinstance(row.get("text"), str):
            raise DataError(f"{origin}: a reference answer has question_id and text")
        if str(id) in found:
            raise DataError(f"{origin}: question {id} has a reference answer already")
        found[str(id)] = row
    return found


def _described(row: Mapping[str, Any]) -> str:
    """Captions, and boxes as fractions of the picture."""
    lines = [*row.get("captions", ()), *filter(None, [row.get("caption")])]
    lines += [f"{thing['category']}: {thing['bbox']}" for thing in row.get("instances", ())]
    return "\n".join(map(str, lines))
