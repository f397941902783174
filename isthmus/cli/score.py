"""`isthmus score`: the numbers that published answers, or a judge's reviews, come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from isthmus.core.contracts import Benchmark
    from isthmus.evaluate.scoring import Run, Scores

Files = list[Path] | None


def score(
    name: Annotated[str, typer.Argument(help="The benchmark.", show_default=False)],
    more: Annotated[
        Files, typer.Argument(metavar="[FILE]...", help="More files of the option before.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(help="A model's answers.", show_default=False)
    ] = None,
    reviews: Annotated[
        Files,
        typer.Option(
            "--reviews", "--grades", help="A judge's; several are several runs.", show_default=False
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The benchmark's questions.", show_default=False)
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which of its questions.", show_default=False)
    ] = None,
    second: Annotated[
        Files,
        typer.Option(help="Answers to compare with, or to combine.", show_default=False),
    ] = None,
    ensemble: Annotated[
        str | None, typer.Option(help="complement, majority or judge.", show_default=False)
    ] = None,
    verdicts: Annotated[
        Path | None,
        typer.Option(help="A judge's final answers, for --ensemble judge.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Any field of the benchmark."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score answers that somebody else made.

    isthmus plugins show benchmark NAME lists what a benchmark can be told.
    """
    reviews, second = _spread(more or [], reviews, second)
    benchmark = _open(name, {"data": data, "split": split}, settings or [])
    files = _files(benchmark, answers, reviews)
    scores = _scored(benchmark, files, second or [], ensemble, verdicts)
    if as_json:
        typer.echo(json.dumps(scores.to_json(), indent=2, allow_nan=False))
    else:
        from isthmus.cli.score_display import show

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
            "--reviews FILE instead of --answers"
        )
    if not reviews:
        raise InputError(f"{name} is scored by a judge's words: give --reviews FILE")
    return reviews


def _scored(
    benchmark: Benchmark,
    files: list[Path],
    second: list[Path],
    ensemble: str | None,
    verdicts: Path | None,
) -> Scores:
    from isthmus.evaluate.scoring import open_runs, score

    if ensemble is None and verdicts:
        raise InputError("--verdicts are for --ensemble judge")
    if ensemble is None:
        runs = open_runs(benchmark, files)
        scores = score(benchmark, runs)
        return _compared(benchmark, runs, scores, second) if second else scores
    return _combined(benchmark, open_runs(benchmark, [*files, *second]), ensemble, verdicts)


def _compared(
    benchmark: Benchmark, runs: Sequence[Run], scores: Scores, second: list[Path]
) -> Scores:
    """With a second model's score beside it, and whether the difference may be chance."""
    from isthmus.evaluate.scoring import compared, open_runs

    if len(runs) > 1 or len(second) > 1:
        raise InputError("two models are compared by one file of each; give --answers and --second")
    return compared(benchmark, runs[0], open_runs(benchmark, second)[0], scores)


def _combined(
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
