"""`isthmus train`: run the stages of a YAML, show their progress, say what came of it."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.options import Overrides
from isthmus.errors import DataError, IsthmusError, WorkError


def train(
    config: Annotated[Path, typer.Argument(help="The run, as YAML.", show_default=False)],
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run, instead of the YAML's `out`.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the newest checkpoint, or start when none is."),
    ] = False,
) -> None:
    """Train a model as CONFIG says.

    Under torchrun or `accelerate launch`, every process runs this verb; the first one talks.
    """
    from isthmus.cli.console import console
    from isthmus.cli.display import Bar, Lines
    from isthmus.core.config import PluginEvents, load
    from isthmus.core.contracts import EventList
    from isthmus.core.train.config import RunConfig
    from isthmus.core.train.run import run
    from isthmus.evaluate.training import Evaluator

    screen = console()
    say = partial(screen.print, markup=False, soft_wrap=True)
    screen.quiet = os.environ.get("RANK", "0") != "0"
    display = Bar(screen) if screen.is_terminal else Lines(screen)
    try:
        settings = load(RunConfig, config, overrides or [])
        if out:
            settings = settings.model_copy(update={"out": out})
        parts = ", ".join(f"{n} {c.pretrained or c.owner.name}" for n, c in settings.model.parts())
        say(f"Reading data, then loading {parts}")
        with closing(display):
            heard = EventList([display, PluginEvents(), Evaluator()])
            folder = run(settings, events=heard, resume=resume)
    except IsthmusError as error:
        if screen.quiet and _met_by_all(error):
            raise typer.Exit(error.exit_code) from None
        raise
    if not display.began:
        say(f"Nothing is left to do: every stage of {settings.out} is finished")
    ways: list[tuple[str, object]] = [
        ("checkpoint", folder),
        ("curves", settings.out / "curves.png"),
    ]
    if settings.model.llm is not None:
        ways.append(("talk to it", f"isthmus chat --model {settings.out} --image FILE"))
    for label, what in ways:
        say(f"{label + ':':12}{what}")


def _met_by_all(error: IsthmusError) -> bool:
    """Whether every process raises it, so that the first one says it for all. Only a bad
    record, or work that failed in one process, is known to that process alone."""
    return not isinstance(error, DataError) and type(error) is not WorkError
