"""`retrieval`: is the right one among the first k? For image-to-text and text-to-image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isthmus import hookimpl
from isthmus.core.contracts import Benchmark, DataPath, Outcome, Question, Totals, percent
from isthmus.core.data.question_file import read_question_file

KS = (1, 5, 10)


class Retrieval(Benchmark, name="retrieval"):
    """Recall at 1, 5 and 10: how often a relevant candidate is among the first so many."""

    reply_fields = ("ranking", "text")

    class Config(Benchmark.Config):
        """Settings of `retrieval`."""

        data: DataPath
        """JSONL or JSON of rows {question_id, relevant, category}: the ids of the candidates
        that are right, and for example the direction. A reply is `ranking`, a list of candidate
        ids, the best one first; or text with one of them a line."""

    config: Config

    def questions(self) -> Sequence[Question]:
        return read_question_file(self.config.data)

    def outcome(self, question: Question, reply: str) -> Outcome:
        # A candidate that is named twice takes one place.
        ranking = list(dict.fromkeys(filter(None, map(str.strip, reply.splitlines()))))
        found = {
            f"hits@{k}": float(any(each in question.references for each in ranking[:k])) for k in KS
        }
        return Outcome(found, ranking[0] if ranking else None)

    def measures(self, totals: Totals) -> dict[str, float]:
        return {f"recall@{k}": percent(totals[f"hits@{k}"], totals["questions"]) for k in KS}


@hookimpl
def register_benchmarks(register: Callable[[type], None]) -> None:
    register(Retrieval)
