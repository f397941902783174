"""`generic`: a benchmark of your own from one JSONL file, by one of a few rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from isthmus import hookimpl
from isthmus.core.contracts import Benchmark, DataPath, Outcome, Question
from isthmus.core.data.answer_reading import (
    LETTERS,
    occurs,
    plain,
    read_choice,
    read_number,
    read_yes_no,
)
from isthmus.core.data.question_file import read_question_file
from isthmus.errors import DataError


class Generic(Benchmark, name="generic"):
    """Share of right answers by a rule: words that occur, a choice, yes or no, a number."""

    class Config(Benchmark.Config):
        """Settings of `generic`."""

        data: DataPath
        """JSONL or JSON of rows {question_id, text, image, answer, options, category}."""
        images: DataPath | None = None
        """Folder of the images; absent, that of `data`."""
        rule: Literal["contains", "choice", "yes_no", "number"] = "contains"
        """What makes an answer right: a right one occurs in it, word for word; it names the
        letter of the right option; it says yes or no as `answer` does; its number is that of
        `answer`."""

    config: Config

    @property
    def image_folder(self) -> Path:
        return self.config.images or self.config.data.parent

    def questions(self) -> Sequence[Question]:
        questions = read_question_file(self.config.data)
        for question in questions:
            wrong = [each for each in question.references if self._read(question, each) is None]
            if wrong:
                raise DataError(
                    f"{self.config.data}, question {question.id}: the answer {wrong[0]!r:.60} "
                    f"means nothing by the rule `{self.config.rule}`"
                )
        return questions

    def outcome(self, question: Question, reply: str) -> Outcome:
        said = self._read(question, reply)
        right = [read for each in question.references if (read := self._read(question, each))]
        if self.config.rule == "contains" and said:
            return Outcome.of(said, right=any(occurs(words, said) for words in right))
        return Outcome.of(said, right=said in right)

    def _read(self, question: Question, text: str) -> str | None:
        if self.config.rule == "contains":
            return plain(text) or None
        if self.config.rule == "yes_no":
            return read_yes_no(text)
        if self.config.rule == "number":
            number = read_number(text)
            return None if number is None else f"{number:.12g}"
        if text in question.options:
            return LETTERS[question.options.index(text)]
        return read_choice(text, len(question.options) or len(LETTERS))


@hookimpl
def register_benchmarks(register: Callable[[type], None]) -> None:
    register(Generic)
