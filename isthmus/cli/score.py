"""`isthmus score`: the numbers that published answers, or a judge's reviews, come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from isthmus.cli.score_display import say_whose, show
from isthmus.cli.score_judged import Asking, judged, taught
from isthmus.cli.score_options import (
    Answers,
    AsJson,
    Context,
    Data,
    Ensemble,
    Files,
    JournalFile,
    Judge,
    MaxCost,
    MaxTokens,
    More,
    Name,
    Offline,
    Out,
    Reference,
    Reviews,
    RuleFile,
    Second,
    Settings,
    Split,
    Swap,
    Teacher,
    Verdicts,
)
from isthmus.cli.score_several import combined, compared
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.core.contracts import Benchmark
    from isthmus.evaluate.scoring import Scores


def score(
    name: Name,
    more: More = None,
    answers: Answers = None,
    reviews: Reviews = None,
    data: Data = None,
    split: Split = None,
    second: Second = None,
    ensemble: Ensemble = None,
    verdicts: Verdicts = None,
    judge: Judge = None,
    reference: Reference = None,
    context: Context = None,
    rule: RuleFile = None,
    swap: Swap = False,
    teacher: Teacher = None,
    out: Out = None,
    journal: JournalFile = None,
    offline: Offline = False,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Score answers that somebody else made.

    isthmus plugins show benchmark NAME lists what a benchmark can be told.
    """
    reviews, second = _spread(more or [], reviews, second)
    given = {"data": data, "split": split, "reference": reference, "context": context}
    benchmark = _open(name, given if ensemble else given | {"rule": rule}, settings or [])
    asking = Asking(judge or teacher, swap, out, journal, offline, max_cost, max_tokens)
    if teacher:
        taught(benchmark, asking)
        return
    if judge:
        scores = judged(benchmark, answers, second or [], ensemble, asking, rule)
    else:
        asking.check()
        files = _files(benchmark, answers, reviews)
        scores = _scored(benchmark, files, second or [], ensemble, verdicts)
    if as_json:
        typer.echo(json.dumps(scores.to_json(), indent=2, allow_nan=False))
    else:
        show(scores)
    for each in filter(None, (scores, scores.second)):
        if each.too_many_missing:
            lost = f"{len(each.missing)} of {each.n_total} values are missing"
            typer.echo(f"error: {lost}; the score leaves them out", err=True)
            raise typer.Exit(1)


def _spread(more: list[Path], reviews: Files, second: Files) -> tuple[Files, Files]:
    """`--reviews a b c` as well as `--reviews a --reviews b`: the rest belongs to the option
    that takes several files."""
    if more and reviews and not second:
        return [*reviews, *more], second
    if more and second and not reviews:
        return reviews, [*second, *more]
    if more:
        raise InputError(
            f"{more[0]}: which option is this file of? Write --answers, --reviews, --grades or "
            "--second before it"
        )
    return reviews, second


def _open(name: str, options: Mapping[str, Any], settings: Sequence[str]) -> Benchmark:
    """The benchmark as the options configure it."""
    from isthmus.core.config import Document, override, typed
    from isthmus.registry import find

    config = find("benchmark", name).part.Config
    given = {key: str(value) for key, value in options.items() if value is not None}
    for option in given:
        if option not in config.model_fields:
            raise InputError(f"{name} has no --{option}")
    if (
        "data" not in given
        and _needs_data(config)
        and not any(setting.startswith("data=") for setting in settings)
    ):
        what = " ".join((config.model_fields["data"].description or "").split())
        raise InputError(f"{name} needs --data. {what}")
    document = override(Document(given, source=f"benchmark {name}"), settings, config)
    benchmark: Benchmark = typed(config, document).build()
    return benchmark


def _needs_data(config: Any) -> bool:
    return "data" in config.model_fields and bool(config.model_fields["data"].is_required())


def _files(benchmark: Benchmark, answers: Path | None, reviews: Files) -> list[Path]:
    """The files to be scored: a judge's reviews, or a model's answers."""
    from isthmus.core.contracts import JudgedBenchmark

    name = benchmark.name
    if not isinstance(benchmark, JudgedBenchmark):
        if reviews:
            raise InputError(f"{name} needs no judge: give --answers FILE, not --reviews")
        if not answers:
            raise InputError(f"{name} needs --answers FILE")
        return [answers]
    if answers:
        raise InputError(
            f"{name} is scored by a judge's words on the answers, not by the answers; give "
            "--reviews FILE instead of --answers, or --judge JUDGE.yaml, too"
        )
    if not reviews:
        raise InputError(f"{name} is scored by a judge's words: give --reviews FILE, or --judge")
    return reviews


def _scored(
    benchmark: Benchmark,
    files: list[Path],
    second: list[Path],
    ensemble: str | None,
    verdicts: Path | None,
) -> Scores:
    from isthmus.core.contracts import JudgedBenchmark
    from isthmus.evaluate.reviews import judged_by
    from isthmus.evaluate.scoring import open_runs, score

    if ensemble is None and verdicts:
        raise InputError("--verdicts are for --ensemble judge")
    if ensemble is None:
        runs = open_runs(benchmark, files)
        scores = score(benchmark, runs)
        if isinstance(benchmark, JudgedBenchmark):
            say_whose(benchmark, scores.n_total)
            if len(runs) == 1:
                scores = replace(scores, more=judged_by(benchmark, runs[0]))
        return compared(benchmark, runs, scores, second) if second else scores
    return combined(benchmark, open_runs(benchmark, [*files, *second]), ensemble, verdicts)
