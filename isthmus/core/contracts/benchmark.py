"""A benchmark: questions, what a reply to one is worth, and what that adds up to.

    class Spelling(Benchmark, name="spelling"):
        class Config(Benchmark.Config):
            data: DataPath
            \"\"\"The questions.\"\"\"

        def questions(self):
            return [Question(7, "Spell it.", images=("7.png",), references=("cat",))]

        def outcome(self, question, reply):
            word = reply.strip().lower()
            return Outcome.of(word or None, right=word in question.references)

Three callers stand on it: scoring answers that somebody else made, asking a model of one's own,
and a judge. Light: importing it imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from isthmus.core.contracts.part import Part, PartConfig

Id = str | int
"""What a file calls a question. 7 and "7" are one."""

Totals = Mapping[str, float]
"""Sums of the outcomes' counts, and `questions`: how many outcomes were summed."""


def percent(part: float, whole: float) -> float:
    """100 * part / whole; NaN, which is a measure without a value, where there is no whole."""
    return 100 * part / whole if whole else float("nan")


@dataclass(frozen=True)
class Question:
    """One question.

    `prompt` is what a model is asked, beside `images`: paths below the benchmark's image folder.
    `references` are right answers, or what an answer is held against; `options` the choices that
    are lettered A, B, C. `labels` are the groups it counts in (subject, category). Questions of
    one `cluster` share something (their image), so that intervals draw them together; without
    one, a question stands alone. `context` tells a judge, who sees no picture, what is in it.
    """

    id: Id
    prompt: str = ""
    images: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    cluster: str = ""
    context: str = ""

    @property
    def key(self) -> str:
        """The id as text."""
        return str(self.id)


@dataclass(frozen=True)
class Reply:
    """What a file says about one question: a model's answer, or a judge's review of it.

    `fields` is the whole row, `origin` (`answers.jsonl, line 7`) is for messages.
    """

    id: Id
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""

    @property
    def key(self) -> str:
        """The id as text."""
        return str(self.id)


@dataclass(frozen=True)
class Outcome:
    """What one reply is worth.

    `counts` add up over questions, and measures are made of their sums: {"right": 1.0}, or hits
    and mentions. They are None where the value is missing, because a judge gave none: then the
    question is left out of every measure, and listed. The count `right`, where there is one, is
    how right this reply is, 0 to 1. `read` is what was understood of the reply
    ("B", "yes"); None says nothing was, and the question is listed too. So an answer that cannot
    be read has counts, those of a wrong one, and a missing judgement has none.
    """

    counts: Mapping[str, float] | None
    read: str | None

    @staticmethod
    def of(read: str | None, right: float) -> Outcome:
        """An answer that is right, wrong, or right in part (0 to 1)."""
        return Outcome({"right": float(right)}, read)

    @staticmethod
    def missing() -> Outcome:
        """No value at all."""
        return Outcome(None, None)

    @property
    def right(self) -> float | None:
        """How right it is, 0 to 1; None where that cannot be said of one reply."""
        return (self.counts or {}).get("right")

    @property
    def is_missing(self) -> bool:
        return self.counts is None

    @property
    def is_valid(self) -> bool:
        """Whether the reply could be read."""
        return self.counts is not None and self.read is not None


class Benchmark(Part, ABC):
    """Questions that are scored by looking at the answer.

    Of its Config, `isthmus score` sets the field `data` by `--data` and `split` by `--split`.
    """

    kind: ClassVar[str] = "benchmark"
    columns: ClassVar[tuple[str, ...]] = ()
    """Labels in the order in which tables print them; others follow as they come."""
    reply_fields: ClassVar[tuple[str, ...]] = ("text", "answer", "caption", "ranking")
    """Fields of a row that may hold the reply; the first that is there does."""
    id_fields: ClassVar[tuple[str, ...]] = ("question_id", "questionId", "image_id", "id", "image")
    """Fields of a row that may hold the question's id, likewise."""
    numbered: ClassVar[bool] = False
    """Whether rows without an id, which say what was asked, are taken for 1, 2, 3 and so on;
    `select` has to check the words."""

    class Config(PartConfig):
        """Base of a benchmark's configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def image_folder(self) -> Path | None:
        """Where the images are; None where it has none."""
        return None

    @abstractmethod
    def questions(self) -> Sequence[Question]:
        """All of them: the denominator of every score. Raises DataError."""

    @abstractmethod
    def outcome(self, question: Question, reply: str) -> Outcome:
        """What the reply is worth: the same whenever it is asked, and never drawn at random."""

    def measures(self, totals: Totals) -> dict[str, float]:
        """What the sums come to, the headline first; percentages, where there is a choice.

        NaN, or a division by zero, is a measure without a value.
        """
        return {"accuracy": percent(totals["right"], totals["questions"])}

    def select(self, replies: Sequence[Reply]) -> Sequence[Reply]:
        """Of a file's replies those to this benchmark's questions, under their ids here.

        A file is otherwise expected to reply to every question once, and to no other.
        """
        return replies
