"""Two or more sets of answers as one, and how far they agree.

`complement` takes the first set's answer where it has one that can be read, else the second's:
"GPT-4 complement" of LLaVA's paper on ScienceQA (arXiv:2304.08485, section 5.2). `judge` takes
what a judge decided where two sets differ; `majority` what most of them say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, get_args

from isthmus.core.contracts import Benchmark, Outcome, Reply
from isthmus.errors import DataError, InputError
from isthmus.evaluate.agreement import alpha
from isthmus.evaluate.matching import matched
from isthmus.evaluate.scoring import Run
from isthmus.evaluate.sums import measures, total

Rule = Literal["complement", "majority", "judge"]
RULES = get_args(Rule)


def combine(
    benchmark: Benchmark, runs: Sequence[Run], rule: Rule, verdicts: Sequence[Reply] = ()
) -> Run:
    """The set of answers that the rule makes of these. Raises InputError, DataError.

    `verdicts` are a judge's final answers to the questions on which two sets differ. One that
    cannot be read is a missing value.
    """
    if rule != "majority" and len(runs) != 2:
        raise InputError(f"an ensemble by {rule} takes two sets of answers; found {len(runs)}")
    if rule == "judge":
        return _judged(benchmark, runs[0], runs[1], verdicts)
    chosen = [
        _majority(outcomes) if rule == "majority" else _first(outcomes)
        for outcomes in zip(*(run.outcomes for run in runs), strict=True)
    ]
    return _chosen(runs, chosen)


def agreement(benchmark: Benchmark, runs: Sequence[Run]) -> dict[str, Any]:
    """What the sets have in common: each one's score, the questions on which all say the same,
    Krippendorff's alpha, and the upper bound: the score of always taking the best answer."""
    reads = [run.reads for run in runs]
    outcomes = zip(*(run.outcomes for run in runs), strict=True)
    same = [len(set(each)) == 1 and each[0] is not None for each in zip(*reads, strict=True)]
    return {
        "members": [{"file": run.file, "score": _score(benchmark, run.outcomes)} for run in runs],
        "agreement": 100 * sum(same) / len(same),
        "alpha": alpha(reads),
        "upper_bound": _score(benchmark, [_best(each) for each in outcomes]),
    }


def _score(benchmark: Benchmark, outcomes: Sequence[Outcome]) -> float | None:
    return next(iter(measures(benchmark, total(outcomes)).values()), None)


def _best(outcomes: Sequence[Outcome]) -> Outcome:
    return max(outcomes, key=lambda outcome: -1.0 if outcome.right is None else outcome.right)


def _first(outcomes: Sequence[Outcome]) -> int:
    """The first that could be read, else the last."""
    return next((n for n, o in enumerate(outcomes) if o.is_valid), len(outcomes) - 1)


def _majority(outcomes: Sequence[Outcome]) -> int:
    """One that says what most say; of equally many, what the earlier ones say."""
    votes = Counter(outcome.read for outcome in outcomes if outcome.is_valid)
    if not votes:
        return 0
    most = max(votes.values())
    return next(n for n, o in enumerate(outcomes) if o.is_valid and votes[o.read] == most)


def _chosen(runs: Sequence[Run], chosen: Sequence[int]) -> Run:
    return Run(
        questions=runs[0].questions,
        replies=tuple(runs[which].replies[at] for at, which in enumerate(chosen)),
        outcomes=tuple(runs[which].outcomes[at] for at, which in enumerate(chosen)),
    )


def _judged(benchmark: Benchmark, one: Run, other: Run, verdicts: Sequence[Reply]) -> Run:
    open_ones = differing(one, other)
    asked = [one.questions[at] for at in open_ones]
    if not verdicts and asked:
        raise DataError(
            f"the two sets differ on {len(asked)} questions; give --verdicts, a file of a judge's "
            "final answers to them"
        )
    wanted = {question.key for question in asked}
    found = matched(asked, [reply for reply in verdicts if reply.key in wanted], "verdicts")
    run = _chosen((one,), [0] * len(one.questions))
    replies, outcomes = list(run.replies), list(run.outcomes)
    for at, reply in zip(open_ones, found, strict=True):
        outcome = benchmark.outcome(one.questions[at], reply.text)
        replies[at] = reply
        outcomes[at] = outcome if outcome.is_valid else Outcome.missing()
    return Run(one.questions, tuple(replies), tuple(outcomes))


def differing(one: Run, other: Run) -> list[int]:
    """Places of the questions on which two sets say different things, or on which neither says
    anything: those that a judge is asked."""
    both = zip(one.reads, other.reads, strict=True)
    return [at for at, (here, there) in enumerate(both) if here != there or here is None]
