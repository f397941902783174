"""`isthmus generate`: answer a file of questions, in batches, and go on where it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.console import console
from isthmus.cli.options import Device, MaxNewTokens, Model, Seed, Temperature, TopP
from isthmus.cli.progress import progress

if TYPE_CHECKING:
    from isthmus.core.model.settings import Settings


def generate(
    model: Model,
    questions: Annotated[
        Path,
        typer.Option(
            help="JSON lines {question_id, image, text}; image is a path, a list, or absent.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Where the answers go, as JSON lines.", show_default=False)
    ],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the images.", show_default="the folder of the questions"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at once.")] = 8,
    max_new_tokens: MaxNewTokens = 512,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    device: Device = None,
) -> None:
    """Answer a file of questions about images.

    Answers are written to OUT.partial as they come, and to OUT when all are there.

    The same command goes on where one was interrupted.
    """
    from isthmus.core.config import load
    from isthmus.core.model.settings import Settings

    given = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
    }
    settings = load(Settings, given)
    _generate(model, questions, out, images or questions.parent, batch_size, settings, device)


def _generate(
    model: Path,
    questions: Path,
    out: Path,
    images: Path,
    batch_size: int,
    settings: Settings,
    device: str | None,
) -> None:
    from isthmus.core import checkpoint
    from isthmus.core.assistant import assistant_of, name_of
    from isthmus.core.assistant.answers import AnswerFile
    from isthmus.core.assistant.asking import fill
    from isthmus.core.assistant.questions import read_questions

    asked = read_questions(questions, images)
    opened = checkpoint.load(model)
    screen = console()
    for line in opened.skipped:
        screen.print(f"note: skipped a checkpoint: {line}", markup=False, soft_wrap=True)
    answers = AnswerFile(out, asked, name_of(opened.folder), settings.in_use())
    if done := len(asked) - len(answers.open):
        screen.print(f"{done} of {len(asked)} questions are answered already")
    if answers.open or not out.exists():
        with answers:
            speaker = assistant_of(opened, device)
            with progress(screen, len(answers.open)) as advance:
                for count in fill(answers, speaker, asked, settings, batch_size):
                    advance(count, "")
    screen.print(f"answers: {out}", markup=False, soft_wrap=True)
