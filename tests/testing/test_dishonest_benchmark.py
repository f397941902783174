"""The conformance kit catches benchmarks that break their promises."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from isthmus.core.contracts import Benchmark, JudgedBenchmark, Outcome, Question, Totals
from isthmus.testing import ContractBroken, check_benchmark

COUNTER = itertools.count()


class Honest(Benchmark, name="honest"):
    """Right is "a"."""

    def questions(self) -> Sequence[Question]:
        return [Question(n, references=("a",)) for n in range(3)]

    def outcome(self, question: Question, reply: str) -> Outcome:
        return Outcome.of(reply or None, right=reply == "a")


class Twice(Honest, name="twice"):
    """Two questions with one id."""

    def questions(self) -> Sequence[Question]:
        return [Question(1), Question("1")]


class Drawing(Honest, name="drawing"):
    """Says something else each time."""

    def outcome(self, question: Question, reply: str) -> Outcome:
        return Outcome.of(reply or None, right=next(COUNTER) % 2)


class Lenient(Honest, name="lenient"):
    """Leaves out answers that it cannot read."""

    def outcome(self, question: Question, reply: str) -> Outcome:
        return super().outcome(question, reply) if reply else Outcome.missing()


class Endless(Honest, name="endless"):
    """Counts without end."""

    def outcome(self, question: Question, reply: str) -> Outcome:
        return Outcome({"right": float("inf")}, reply or None)


class Percent(Honest, name="percent"):
    """Says in percent how right a reply is."""

    def outcome(self, question: Question, reply: str) -> Outcome:
        return Outcome.of(reply or None, right=100 * (reply == "a"))


class Fickle(Honest, name="fickle"):
    """Another headline for one question."""

    def measures(self, totals: Totals) -> dict[str, float]:
        return {"many" if totals["questions"] > 1 else "one": 0.0}


class Judged(JudgedBenchmark, name="judged"):
    """A number from a judge."""

    def questions(self) -> Sequence[Question]:
        return [Question(1)]

    def inquiry(self, question: Question, answer: str, swapped: bool = False) -> str:
        return f"How good is {answer}?"

    def verdict(self, question: Question, reply: str, swapped: bool = False) -> Outcome:
        return Outcome({"grade": float(reply)}, reply) if reply.isdigit() else Outcome.missing()


class Generous(Judged, name="generous"):
    """A judge that says nothing gives 5."""

    def verdict(self, question: Question, reply: str, swapped: bool = False) -> Outcome:
        return Outcome({"grade": float(reply) if reply.isdigit() else 5.0}, reply)


class Blind(Judged, name="blind"):
    """The judge does not see what it judges."""

    def inquiry(self, question: Question, answer: str, swapped: bool = False) -> str:
        return "How good is it?"


def test_honest_benchmarks_pass() -> None:
    check_benchmark(Honest.Config())
    judged = Judged.Config()
    with pytest.raises(ContractBroken, match="the kit needs `replies` that it can read"):
        check_benchmark(judged, ["no number"])


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Twice, "an id stands twice"),
        (Drawing, "asked twice, it says two things"),
        (Lenient, 'the answer "" is wrong and counts'),
        (Endless, "counts are finite numbers"),
        (Percent, "the count `right` is how right one reply is, 0 to 1"),
        (Fickle, "the headline is 'many' of all, but 'one' of one"),
        (Generous, "a judge that says nothing is Outcome.missing"),
        (Blind, "the inquiry shows the answer"),
    ],
)
def test_dishonest_benchmarks_are_caught(part: type[Benchmark], words: str) -> None:
    with pytest.raises(ContractBroken) as error:
        check_benchmark(part.Config(), ["a", "5"])
    assert words in str(error.value)
