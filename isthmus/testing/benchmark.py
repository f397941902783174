"""Does a benchmark keep its contract (`isthmus.core.contracts.benchmark`)?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from isthmus.core.contracts import Benchmark, JudgedBenchmark, Outcome, Question
from isthmus.testing.promises import build, check_config, promise

QUESTIONS = 20
"""Questions that replies are tried on, from the first on."""


def check_benchmark(config: Benchmark.Config, replies: Sequence[str] = ()) -> None:
    """Try every promise on its first questions. Raises ContractBroken.

    `replies` are some that it should be able to read: a model's, or a judge's.
    """
    check_config(config)
    benchmark: Benchmark = build(config)
    name = type(benchmark).__qualname__
    questions = list(benchmark.questions())
    _check_questions(name, questions)
    counted: list[Outcome] = []
    for question in questions[:QUESTIONS]:
        _check_silence(f"{name}.outcome", benchmark, question)
        for reply in ("", "?", *question.references[:1], *replies):
            where = f"{name}.outcome(question {question.id}, {reply!r:.40})"
            outcome = benchmark.outcome(question, reply)
            _check_outcome(where, outcome)
            promise(
                outcome == benchmark.outcome(question, reply),
                f"{where}: asked twice, it says two things; nothing is drawn at random",
            )
            counted += [] if outcome.is_missing else [outcome]
    promise(bool(counted), f"{name}.outcome: the kit needs `replies` that it can read")
    _check_measures(f"{name}.measures", benchmark, counted)


def _check_questions(name: str, questions: Sequence[Question]) -> None:
    promise(bool(questions), f"{name}.questions: the kit needs a benchmark with questions")
    keys = [question.key for question in questions]
    promise(len(set(keys)) == len(keys), f"{name}.questions: an id stands twice")


def _check_silence(where: str, benchmark: Benchmark, question: Question) -> None:
    """An answer that says nothing is wrong and counts; a judge that says nothing is missing."""
    silence = benchmark.outcome(question, "")
    if isinstance(benchmark, JudgedBenchmark):
        promise(
            silence.is_missing, f"{where}: a judge that says nothing is Outcome.missing(), no value"
        )
        asked = benchmark.inquiry(question, "my very own words")
        promise("my very own words" in asked, f"{where}: the inquiry shows the answer to the judge")
    else:
        promise(
            not silence.is_missing and silence.read is None,
            f'{where}: the answer "" is wrong and counts, and its `read` is None',
        )


def _check_outcome(where: str, outcome: Outcome) -> None:
    promise(isinstance(outcome, Outcome), f"{where}: an Outcome is needed, not {outcome!r:.60}")
    counts = outcome.counts or {}
    promise(
        all(math.isfinite(count) for count in counts.values()) and "questions" not in counts,
        f"{where}: counts are finite numbers, and `questions` is none of them; found {counts}",
    )
    promise(
        0 <= counts.get("right", 0) <= 1,
        f"{where}: the count `right` is how right one reply is, 0 to 1; found {counts}",
    )


def _check_measures(where: str, benchmark: Benchmark, outcomes: Sequence[Outcome]) -> None:
    whole = benchmark.measures(_sums(outcomes))
    promise(bool(whole), f"{where}: it gives a headline at least")
    one = benchmark.measures(_sums(outcomes[:1]))
    promise(
        next(iter(one)) == next(iter(whole)),
        f"{where}: the headline is {next(iter(whole))!r} of all, but {next(iter(one))!r} of one",
    )


def _sums(outcomes: Iterable[Outcome]) -> Mapping[str, float]:
    sums: dict[str, float] = {}
    for outcome in outcomes:
        for name, count in {**(outcome.counts or {}), "questions": 1.0}.items():
            sums[name] = sums.get(name, 0.0) + count
    return sums
