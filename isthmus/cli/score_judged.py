"""`isthmus score --judge`: answers that somebody reads before they are scored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.core.contracts import Benchmark, JudgedBenchmark
    from isthmus.evaluate.judging import Jury
    from isthmus.evaluate.jury import JuryConfig
    from isthmus.evaluate.scoring import Scores

FOLDER = Path("runs/judged")
SHOWN = 3
"""Reasons for missing replies that are told."""


@dataclass(frozen=True)
class Asking:
    """Who is asked, and how; `who` is a YAML's place, or the YAML."""

    who: str | None
    swap: bool = False
    out: Path | None = None
    journal: Path | None = None
    offline: bool = False
    max_cost: float | None = None
    max_tokens: int | None = None

    def check(self) -> None:
        """Raise InputError for what means nothing where nobody is asked."""
        for name in ("swap", "out", "journal", "offline", "max_cost", "max_tokens"):
            if getattr(self, name):
                raise InputError(f"--{name.replace('_', '-')} is for --judge and --teacher")

    @contextmanager
    def jury(self) -> Iterator[Jury]:
        """Open while the block lasts; what went wrong is told when it ends."""
        from isthmus.cli.asking_display import asking_display
        from isthmus.core.chat import Journal
        from isthmus.evaluate.judging import Jury

        config = self.config()
        place = self.journal or FOLDER / "journal.sqlite"
        with Journal(place, read_only=self.offline) as journal, asking_display() as observer:
            for note in journal.notes:
                typer.echo(f"note: {note}", err=True)
            jury = Jury(config, journal, observer)
            yield jury
        for reason, count in jury.reasons.most_common(SHOWN):
            typer.echo(f"note: no reply to {count} requests: {reason}", err=True)

    def file(self, name: str, answers: Path, ending: str) -> Path:
        """Where what comes of it goes."""
        return self.out or FOLDER / name / f"{answers.stem}-{ending}.jsonl"

    def config(self) -> JuryConfig:
        """Who is asked, read. Raises InputError."""
        from isthmus.evaluate.jury import read_jury

        config = read_jury(str(self.who))
        if self.max_cost == 0:
            raise InputError("--max-cost 0 would ask nobody; --offline does that")
        caps = {"max_cost": self.max_cost, "max_tokens": self.max_tokens}
        caps = {name: cap for name, cap in caps.items() if cap is not None}
        ask = config.ask.model_copy(update=caps)
        return config.model_copy(update={"ask": ask, "swap": config.swap or self.swap})


def judged(
    benchmark: Benchmark,
    answers: Path | None,
    second: list[Path],
    ensemble: str | None,
    asking: Asking,
    rule: Path | None,
) -> Scores:
    """The score of answers that somebody was asked about. Raises InputError, before that, where
    there is nothing to ask."""
    from isthmus.core.contracts import JudgedBenchmark

    if not answers:
        raise InputError("--judge reads a model's answers: give --answers FILE")
    if ensemble not in (None, "judge"):
        raise InputError(f"--judge is for --ensemble judge; {ensemble} asks nobody")
    if ensemble:
        return _arbitrated(benchmark, answers, second, asking, rule)
    if not isinstance(benchmark, JudgedBenchmark):
        raise InputError(f"{benchmark.name} needs no judge, but for --ensemble judge")
    return _read(benchmark, answers, second, asking)


def _read(benchmark: JudgedBenchmark, answers: Path, second: list[Path], asking: Asking) -> Scores:
    """The score of answers that a jury has read; a second model's beside it."""
    from isthmus.evaluate.judging import judge_file
    from isthmus.evaluate.reviews import judged_by
    from isthmus.evaluate.scoring import compared, score

    if len(second) > 1:
        raise InputError("two models are compared by one file of each; give --answers and --second")
    out = asking.file(benchmark.name, answers, "reviews")
    with asking.jury() as jury:
        run = judge_file(benchmark, answers, jury, out)
        others = [
            judge_file(benchmark, file, jury, out.with_stem(f"{out.stem}-second"))
            for file in second
        ]
    typer.echo(f"reviews: {out}", err=True)
    scores = score(benchmark, [run])
    if others:
        scores = compared(benchmark, run, others[0], scores)
    return replace(scores, more={**scores.more, **judged_by(benchmark, run)})


def _arbitrated(
    benchmark: Benchmark, answers: Path, second: list[Path], asking: Asking, rule: Path | None
) -> Scores:
    """The score of an ensemble whose judge is asked now."""
    from isthmus.evaluate.arbitration import arbiter, arbitrate
    from isthmus.evaluate.ensemble import agreement, combine
    from isthmus.evaluate.scoring import open_runs, score

    runs = open_runs(benchmark, [answers, *second])
    if len(runs) != 2:
        raise InputError(
            f"--ensemble judge takes two sets of answers, one by --answers and one by --second; "
            f"found {len(runs)}"
        )
    out = asking.file(benchmark.name, answers, "verdicts")
    with asking.jury() as jury:
        verdicts = arbitrate(benchmark, runs[0], runs[1], jury, out, rule)
    typer.echo(f"verdicts: {out}", err=True)
    run = combine(benchmark, runs, "judge", verdicts) if verdicts else runs[0]
    more: dict[str, Any] = {"ensemble": "judge", **agreement(benchmark, runs)}
    more["judges"] = arbiter(benchmark, jury, verdicts, run)
    return replace(score(benchmark, [run]), more=more)


def taught(benchmark: Benchmark, asking: Asking) -> None:
    """Write a teacher's reference answers."""
    from isthmus.evaluate.teaching import teach

    if asking.out is None:
        raise InputError("--teacher writes reference answers: give --out FILE")
    with asking.jury() as jury:
        missing = teach(benchmark, jury, asking.out)
    typer.echo(f"reference answers: {asking.out}")
    if missing:
        ids = ", ".join(map(str, missing[:10]))
        typer.echo(f"error: no answer to {len(missing)} questions: {ids}", err=True)
        raise typer.Exit(1)
