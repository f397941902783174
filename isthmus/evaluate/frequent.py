"""The answer that is most often right: what a score is worth that nobody had to look for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from isthmus.core.contracts import Benchmark, JudgedBenchmark, Question, Reply
from isthmus.evaluate.scoring import Run, run_of


def most_frequent(benchmark: Benchmark, questions: Sequence[Question]) -> Run | None:
    """Every question answered with what is right most often among questions of its labels, the
    earliest where several are. None where an answer by itself is not right or wrong."""
    if isinstance(benchmark, JudgedBenchmark) or not all(q.references for q in questions):
        return None
    counts: dict[tuple[str, ...], Counter[str]] = {}
    for question in questions:
        counts.setdefault(question.labels, Counter()).update(question.references)
    best = {labels: counter.most_common(1)[0][0] for labels, counter in counts.items()}
    replies = [Reply(question.id, best[question.labels]) for question in questions]
    run = run_of(benchmark, questions, replies, "the most frequent answer")
    return run if all(outcome.right is not None for outcome in run.outcomes) else None
