"""Judging: a model's answers, a jury and a journal become reviews.

    with Journal("journal.sqlite") as journal:
        run = judge_file(benchmark, answers, Jury(read_jury("judge.yaml"), journal), reviews)
        print(score(benchmark, [run]), judged_by(benchmark, run))

Every reply is in the journal before it is read, so judging again costs nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from isthmus.core.chat import Journal
from isthmus.core.contracts import JudgedBenchmark, Question, Reply
from isthmus.errors import InputError, WorkError
from isthmus.evaluate.hearing import Listener, Observer, in_words, request
from isthmus.evaluate.jury import JuryConfig, names_of
from isthmus.evaluate.matching import matched
from isthmus.evaluate.replies import read_answers, read_replies
from isthmus.evaluate.reviews import Remark, review_of
from isthmus.evaluate.scoring import Run, run_of


class Jury:
    """Judges who are open to any number of benchmarks, and remember what each called itself.

    Called with a benchmark, questions, answers in their order, and a file, it writes the reviews
    there: what an evaluation wants of a judge.
    """

    def __init__(
        self, config: JuryConfig, journal: Journal, observer: Observer | None = None
    ) -> None:
        self.config = config
        self.judges = [judge.build() for judge in config.judges]
        self.names = names_of(self.judges)
        self.listener = Listener(journal, config.ask, observer)

    @property
    def reasons(self) -> Counter[str]:
        """Why there was no reply, and how often."""
        return self.listener.reasons

    def __call__(
        self,
        benchmark: JudgedBenchmark,
        questions: Sequence[Question],
        answers: Sequence[Reply],
        file: Path,
    ) -> None:
        """Write a review of every answer; those that failed have no `content`."""
        write_rows(file, self.reviews(benchmark, questions, answers))

    def reviews(
        self, benchmark: JudgedBenchmark, questions: Sequence[Question], answers: Sequence[Reply]
    ) -> list[dict[str, Any]]:
        """A row for every answer. Raises InputError for what cannot be asked, before anybody is;
        and what `ask` raises, after which the same call goes on."""
        if self.config.swap and not benchmark.rivals:
            raise InputError(
                f"{benchmark.name}: its judge sees one answer alone, so no two can be swapped"
            )
        orders = (False, True) if self.config.swap else (False,)
        pairs = list(zip(questions, answers, strict=True))
        asked = [
            (_id(benchmark, question, swapped), benchmark.inquiry(question, answer.text, swapped))
            for swapped, (question, answer) in product(orders, pairs)
        ]
        told: list[list[Remark]] = [[] for _ in pairs]
        for name, judge in zip(self.names, self.judges, strict=True):
            schema = benchmark.schema if judge.structured else None
            requests = [
                request(id, judge, words, self.config.parameters, schema) for id, words in asked
            ]
            said = self.listener.hear(name, judge, requests)
            model = self.listener.returned.get(name, "")
            for number, each in enumerate(said):
                text = None if each.text is None else in_words(each.text, schema)
                order = orders[number // len(pairs)]
                remark = Remark(name, model, order, text, each.missing)
                told[number % len(pairs)].append(remark)
        return [
            review_of(benchmark, question, answer, remarks)
            for (question, answer), remarks in zip(pairs, told, strict=True)
        ]


def _id(benchmark: JudgedBenchmark, question: Question, swapped: bool) -> str:
    return f"{benchmark.name}/{question.key}{'/swapped' if swapped else ''}"


def judge_file(benchmark: JudgedBenchmark, answers: Path, jury: Jury, reviews: Path) -> Run:
    """The run of a file of answers, by the reviews that it leaves. Raises DataError."""
    found = read_answers(answers)
    questions = benchmark.answered(found)
    jury(benchmark, questions, matched(questions, found, str(answers)), reviews)
    (made,) = read_replies(reviews, benchmark)
    replies = matched(questions, benchmark.select(made), str(reviews))
    return run_of(benchmark, questions, replies, str(answers))


def write_rows(file: Path, rows: Sequence[Any]) -> None:
    """JSON lines, written under another name first. Raises WorkError."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    partial = file.with_name(file.name + ".tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(file)
    except OSError as error:
        raise WorkError(f"{file}: cannot be written: {error.strerror}") from None
