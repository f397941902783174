"""`isthmus evaluate`: models x benchmarks, from one YAML to answers, scores and a report."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.console import console
from isthmus.cli.options import Device, Overrides
from isthmus.cli.progress import progress
from isthmus.cli.score_judged import Asking
from isthmus.cli.score_options import JournalFile, Judge, MaxCost, MaxTokens, Offline, Swap
from isthmus.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from isthmus.evaluate.evaluation import Evaluation


def evaluate(
    config: Annotated[Path, typer.Argument(help="The evaluation, as YAML.", show_default=False)],
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the evaluation, instead of the YAML's `out`.")
    ] = None,
    device: Device = None,
    judge: Judge = None,
    swap: Swap = False,
    journal: JournalFile = None,
    offline: Offline = False,
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
) -> None:
    """Ask models the questions of benchmarks, and score what they say.

    The same command goes on where one was interrupted.
    """
    from isthmus.core.config import load
    from isthmus.evaluate.config import EvaluationConfig
    from isthmus.evaluate.evaluation import Evaluation

    settings = load(EvaluationConfig, config, overrides or [])
    if out:
        settings = settings.model_copy(update={"out": out})
    asking = Asking(judge, swap, None, journal, offline, max_cost, max_tokens)
    if judge:
        asking.config()  # what is wrong with it is said before a model is asked for hours
    else:
        asking.check()
    screen = console()
    evaluation = Evaluation(settings)
    if judge and not any(exam.judged for exam in evaluation.exams):
        raise InputError("--judge: none of these benchmarks needs one")
    _answer(evaluation, screen, device)
    if judge:
        with asking.jury() as jury:
            evaluation.judge(jury)
    _say_results(evaluation, screen)


def _answer(evaluation: Evaluation, screen: Console, device: str | None) -> None:
    say = partial(screen.print, markup=False, soft_wrap=True)
    for note in evaluation.notes:
        say(f"note: {note}")
    if done := evaluation.total - evaluation.open:
        say(f"{done} of {evaluation.total} questions are answered already")
    with progress(screen, evaluation.open) as advance:
        for count, at in evaluation.answer(device):
            advance(count, at)


def _say_results(evaluation: Evaluation, screen: Console) -> None:
    """Scores as a table, where everything is, and what is missing."""
    from isthmus.cli.evaluate_display import show_results
    from isthmus.evaluate.folder import REPORT
    from isthmus.evaluate.report import write_report

    say = partial(screen.print, markup=False, soft_wrap=True)
    sections = evaluation.results()
    show_results(sections, screen)
    config = evaluation.config
    report = write_report(sections, config.out / REPORT, title=config.title)
    say(f"scores: {config.out}")
    say(f"report: {report}")
    scores = [(s, e, e.scores) for s in sections for e in s.entries if e.scores]
    lost = [(s.name, e.model, found) for s, e, found in scores if found.too_many_missing]
    for name, model, found in lost:
        values = f"{len(found.missing)} of {found.n_total} values are missing"
        typer.echo(f"error: {model}, {name}: {values}; the score leaves them out", err=True)
    if lost:
        raise typer.Exit(1)
