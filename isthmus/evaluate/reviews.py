"""Reviews as a file has them, and what they say together.

    {"question_id": 0, "category": "conv", "content": "8 4\nWhy", "tuple": [8.0, 4.0],
     "reviews": [{"judge": "gpt-4o", "model": "gpt-4o-2024-08-06", "content": "8 4\nWhy"}]}

The published form, with every judge's own words in `reviews`. Where there are several, or both
orders, `content` and `tuple` are the mean of all; where one of them is missing, so is the mean,
and there is neither. So judges are weighted alike in every question, and so are both orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from isthmus.core.contracts import JudgedBenchmark, Outcome, Question, Reply
from isthmus.errors import DataError
from isthmus.evaluate.agreement import alpha
from isthmus.evaluate.scoring import Run
from isthmus.evaluate.sums import measures, total


@dataclass(frozen=True)
class Remark:
    """What one judge said of one answer, in one order; `text` is None where it said nothing.
    `model` is what it called itself."""

    judge: str
    model: str
    swapped: bool = False
    text: str | None = None
    missing: str = ""

    def to_json(self) -> dict[str, Any]:
        said = {"content": self.text} if self.text is not None else {"missing": self.missing}
        order = {"swapped": True} if self.swapped else {}
        return {"judge": self.judge, "model": self.model, **order, **said}


def review_of(
    benchmark: JudgedBenchmark, question: Question, answer: Reply, remarks: Sequence[Remark]
) -> dict[str, Any]:
    """The row that says what became of an answer. Raises DataError where a benchmark cannot write
    a mean verdict."""
    id = answer.fields.get("answer_id")
    row: dict[str, Any] = {"question_id": question.id}
    row |= {} if id is None else {"answer_id": id, "answer2_id": id}
    row |= benchmark.described(question)
    outcome = mean_of(benchmark, question, remarks)
    if len(remarks) == 1 and remarks[0].text is not None:
        row["content"] = remarks[0].text
    elif outcome.counts is not None:
        row["content"] = _content(benchmark, question, outcome.counts, remarks)
    if benchmark.rivals and outcome.counts is not None:
        row["tuple"] = [outcome.counts[name] for name in benchmark.rivals]
    return {**row, "reviews": [remark.to_json() for remark in remarks]}


def mean_of(benchmark: JudgedBenchmark, question: Question, remarks: Sequence[Remark]) -> Outcome:
    """The mean of all verdicts; missing where one is."""
    found = [verdict_of(benchmark, question, remark) for remark in remarks]
    counts = [outcome.counts for outcome in found if outcome.counts is not None]
    if not counts or len(counts) < len(found):
        return Outcome.missing()
    mean = {name: fmean(each[name] for each in counts) for name in counts[0]}
    return Outcome(mean, found[0].read)


def verdict_of(benchmark: JudgedBenchmark, question: Question, remark: Remark) -> Outcome:
    """What one remark says."""
    if remark.text is None:
        return Outcome.missing()
    return benchmark.verdict(question, remark.text, remark.swapped)


def remarks_in(reply: Reply) -> list[Remark]:
    """Every judge's own words in a row; none where it has none, as published files have it."""
    rows = reply.fields.get("reviews")
    found = []
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, Mapping):
            return []
        judge, model, text = row.get("judge"), row.get("model"), row.get("content")
        if not isinstance(judge, str) or not isinstance(model, str):
            return []
        words = text if isinstance(text, str) else None
        found.append(Remark(judge, model, row.get("swapped") is True, words))
    return found


def judged_by(benchmark: JudgedBenchmark, run: Run) -> dict[str, Any]:
    """Who judged, how far several agree, and how far the place of an answer decided; nothing for
    reviews that do not say who gave them."""
    told = [remarks_in(reply) for reply in run.replies]
    names = list(dict.fromkeys(remark.judge for remarks in told for remark in remarks))
    if not names:
        return {}
    by_judge = {
        name: [
            mean_of(benchmark, question, [r for r in remarks if r.judge == name])
            for question, remarks in zip(run.questions, told, strict=True)
        ]
        for name in names
    }
    models = {name: sorted(_models(told, name)) for name in names}
    for name, returned in models.items():
        if len(returned) > 1:
            raise DataError(
                f"{run.file}: judge {name!r:.60} called itself "
                f"{' and '.join(f'{each!r:.60}' for each in returned)}: two models are two judges, "
                "so there is no score"
            )
    found: dict[str, Any] = {
        "judges": [
            {
                "requested": name,
                "returned": "".join(models[name]),
                "score": next(iter(measures(benchmark, total(outcomes)).values()), None),
                "n_valid": sum(outcome.is_valid for outcome in outcomes),
            }
            for name, outcomes in by_judge.items()
        ]
    }
    if len(names) > 1:
        found["judges_alpha"] = _alphas(list(by_judge.values()))
    if benchmark.rivals and any(remark.swapped for remarks in told for remark in remarks):
        found["position_bias"] = position_bias(benchmark, run.questions, told)
    return found


def position_bias(
    benchmark: JudgedBenchmark, questions: Sequence[Question], told: Sequence[Sequence[Remark]]
) -> dict[str, Any]:
    """What the first place is worth. `index` is how many points more an answer gets for standing
    first than for standing second, on average; 0 for a judge who does not care. `consistent` is
    the percentage of the `n_pairs` in which both orders prefer the same answer, or neither."""
    one, other = benchmark.rivals or ("", "")
    gains: list[float] = []
    same = 0
    for question, remarks in zip(questions, told, strict=True):
        for judge in dict.fromkeys(remark.judge for remark in remarks):
            lead = {
                remark.swapped: counts[one] - counts[other]
                for remark in remarks
                if remark.judge == judge
                and (counts := verdict_of(benchmark, question, remark).counts) is not None
            }
            if len(lead) == 2:
                gains.append((lead[False] - lead[True]) / 2)
                same += _sign(lead[False]) == _sign(lead[True])
    return {
        "index": fmean(gains) if gains else None,
        "consistent": 100 * same / len(gains) if gains else None,
        "n_pairs": len(gains),
    }


def _content(
    benchmark: JudgedBenchmark,
    question: Question,
    counts: Mapping[str, float],
    remarks: Sequence[Remark],
) -> str:
    """The mean verdict in the words that `verdict` reads, with all that was said below it where
    that leaves it readable."""
    line = benchmark.line(counts)
    said = "\n\n".join(f"{remark.judge}: {remark.text}" for remark in remarks)
    for text in (f"{line}\n{said}", line):
        if benchmark.verdict(question, text).counts == counts:
            return text
    raise DataError(
        f"{benchmark.name}: a mean of several verdicts cannot be written so that it reads "
        f"{line!r:.60} again; ask one judge in one order, or override `line`"
    )


def _models(told: Sequence[Sequence[Remark]], judge: str) -> set[str]:
    return {r.model for remarks in told for r in remarks if r.judge == judge and r.model}


def _alphas(ratings: Sequence[Sequence[Outcome]]) -> dict[str, float | None]:
    """Krippendorff's alpha of each count, as numbers on a scale."""
    counts = [outcome.counts or {} for outcomes in ratings for outcome in outcomes]
    return {
        name: alpha([[(o.counts or {}).get(name) for o in each] for each in ratings], "interval")
        for name in dict.fromkeys(name for each in counts for name in each)
    }


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)
