"""`isthmus score --second`: two models beside each other, or several as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from isthmus.core.contracts import Benchmark
    from isthmus.evaluate.scoring import Run, Scores


def compared(
    benchmark: Benchmark, runs: Sequence[Run], scores: Scores, second: list[Path]
) -> Scores:
    """With a second model's score beside it, and whether the difference may be chance."""
    from isthmus.evaluate import scoring

    if len(runs) > 1 or len(second) > 1:
        raise InputError("two models are compared by one file of each; give --answers and --second")
    other = scoring.open_runs(benchmark, second)[0]
    return scoring.compared(benchmark, runs[0], other, scores)


def combined(
    benchmark: Benchmark, runs: Sequence[Run], ensemble: str, verdicts: Path | None
) -> Scores:
    """The ensemble's score, with what its members have in common."""
    from isthmus.evaluate.ensemble import RULES, agreement, combine
    from isthmus.evaluate.replies import read_replies
    from isthmus.evaluate.scoring import score

    rules = {rule: rule for rule in RULES}
    if ensemble not in rules:
        raise InputError(
            f"--ensemble: there is no {ensemble!r}. Known: {', '.join(RULES)}."
            f"{did_you_mean(ensemble, RULES)}"
        )
    if len(runs) < 2:
        raise InputError("--ensemble combines two sets of answers; give --second FILE, too")
    final = read_replies(verdicts, benchmark)[0] if verdicts else ()
    made = score(benchmark, [combine(benchmark, runs, rules[ensemble], final)])
    return replace(made, more={"ensemble": ensemble, **agreement(benchmark, runs)})
