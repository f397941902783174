"""A benchmark whose answers say nothing until a judge has read them.

It says what a judge is asked and what his reply says. Who the judge is, how he is asked and what
becomes of a call that failed is `isthmus.evaluate`'s.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from isthmus.core.contracts.benchmark import Benchmark, Outcome, Question, Reply

_CONTROL = re.compile(r"<(?=\S)|\[(?=/?\w+\])")
"""Where what a chat template takes for a control token may begin: <|im_end|>, </s>, [INST]."""


def quoted(text: str) -> str:
    """Every line marked with >, so that in an inquiry no answer can pass for what is around it.

    There is no end mark that an answer could write. What looks like a control token is broken up
    by a space, since a judge's tokenizer may take it for a turn's end wherever it stands.
    """
    harmless = _CONTROL.sub(r"\g<0> ", text)
    return "\n".join(f"> {line}" for line in harmless.splitlines() or [""])


class JudgedBenchmark(Benchmark, ABC):
    """Questions whose answers somebody has to judge. Here a reply is the judge's."""

    reply_fields: ClassVar[tuple[str, ...]] = ("content", "text", "score")
    schema: ClassVar[Mapping[str, Any] | None] = None
    """JSON Schema of a reply, an object, for judges that keep to one. Its numbers in their order
    are the first line of what `verdict` is given, its texts the lines that follow."""
    published: ClassVar[tuple[int, ...]] = ()
    """How many questions each set has that is known without the benchmark's own data; reviews of
    another number of them are of somebody's own."""
    rivals: ClassVar[tuple[str, str] | None] = None
    """The counts of what an inquiry shows first and second, where a judge compares two answers."""

    @abstractmethod
    def inquiry(self, question: Question, answer: str, swapped: bool = False) -> str:
        """What a judge is asked about a model's answer, which is `quoted`.

        `swapped` has the answer and its reference change places, where both are shown. Raises
        DataError where what he has to know is not there.
        """

    @abstractmethod
    def verdict(self, question: Question, reply: str, swapped: bool = False) -> Outcome:
        """What a judge's reply to the inquiry says; `Outcome.missing` where it says nothing."""

    def outcome(self, question: Question, reply: str) -> Outcome:
        return self.verdict(question, reply)

    def line(self, counts: Mapping[str, float]) -> str:
        """The first line of a reply whose verdict has these counts: how a review is written that
        stands for several, on average."""
        return " ".join(str(float(count)) for count in counts.values())

    def described(self, question: Question) -> dict[str, Any]:
        """Fields of a review that say what the question is, as far as `reviewed` needs them."""
        return {}

    def reviewed(self, replies: Sequence[Reply]) -> Sequence[Question]:
        """The questions that a file of reviews is about. Override it where reviews can be
        scored without the benchmark's own data. Raises DataError."""
        return self.questions()

    def answered(self, answers: Sequence[Reply]) -> Sequence[Question]:
        """The questions that a file of answers is to, as a judge is asked about them. Override it
        where answers can be judged without the benchmark's own data. Raises DataError."""
        return self.questions()
