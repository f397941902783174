"""`exact_match`: right is an answer that is one of the right ones, word for word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from isthmus import hookimpl
from isthmus.core.contracts import Benchmark, DataPath, Outcome, Question
from isthmus.core.data.answer_reading import plain
from isthmus.core.data.question_file import read_question_file


class ExactMatch(Benchmark, name="exact_match"):
    """Share of answers that equal a right one; capitals, outer marks and spaces aside.

    With `options` it is a classification, which models that compare pictures with texts can be
    asked as well.
    """

    class Config(Benchmark.Config):
        """Settings of `exact_match`."""

        data: DataPath
        """JSONL or JSON of rows {question_id, text, image, answer, category}; `answer` may be a
        list of right ones."""
        images: DataPath | None = None
        """Folder of the images; absent, that of `data`."""
        options: tuple[str, ...] = ()
        """What there is to choose from, where a row has no `options` of its own: the names of all
        classes."""
        literal: bool = False
        """Count only what is equal to the last character, outer spaces aside."""

    config: Config

    @property
    def image_folder(self) -> Path:
        return self.config.images or self.config.data.parent

    def questions(self) -> Sequence[Question]:
        questions = read_question_file(self.config.data)
        options = self.config.options
        return [
            question if question.options else replace(question, options=options)
            for question in questions
        ]

    def outcome(self, question: Question, reply: str) -> Outcome:
        form = str.strip if self.config.literal else plain
        said = form(reply)
        return Outcome.of(said or None, right=said in map(form, question.references))


@hookimpl
def register_benchmarks(register: Callable[[type], None]) -> None:
    register(ExactMatch)
