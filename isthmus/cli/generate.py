"""`isthmus generate`: answer a file of questions, in batches, and go on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.console import console
from isthmus.cli.options import Device, MaxNewTokens, Model, Seed, Temperature, TopP

if TYPE_CHECKING:
    from rich.console import Console

SECONDS = 10.0
"""Between two lines of progress where output is no terminal."""


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
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    if temperature:
        settings |= {"top_p": top_p, "seed": seed}
    _generate(model, questions, out, images or questions.parent, batch_size, settings, device)


def _generate(
    model: Path,
    questions: Path,
    out: Path,
    images: Path,
    batch_size: int,
    settings: dict[str, Any],
    device: str | None,
) -> None:
    from isthmus.core import checkpoint
    from isthmus.core.assistant import assistant_of, name_of
    from isthmus.core.assistant.answers import AnswerFile
    from isthmus.core.assistant.questions import read_questions

    asked = read_questions(questions, images)
    opened = checkpoint.load(model)
    screen = console()
    for line in opened.skipped:
        screen.print(f"note: skipped a checkpoint: {line}", markup=False, soft_wrap=True)
    answers = AnswerFile(out, asked, name_of(opened.folder), settings)
    if done := len(asked) - len(answers.open):
        screen.print(f"{done} of {len(asked)} questions are answered already")
    if answers.open or not out.exists():
        with answers:
            speaker = assistant_of(opened, device)
            with _progress(screen, len(answers.open)) as advance:
                for first in range(0, len(answers.open), batch_size):
                    batch = answers.open[first : first + batch_size]
                    numbers = [question.number for question in batch]
                    talks = [question.conversation() for question in batch]
                    texts = speaker.answer(talks, batch_size, numbers=numbers, **settings)
                    for question, text in zip(batch, texts, strict=True):
                        answers.add(question, text)
                    advance(len(batch))
    screen.print(f"answers: {out}", markup=False, soft_wrap=True)


@contextmanager
def _progress(screen: Console, total: int) -> Iterator[Callable[[int], None]]:
    """A bar in a terminal; elsewhere a line every few seconds, and one at the end."""
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    if screen.is_terminal:
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=screen) as bar:
            task = bar.add_task("questions", total=total)
            yield lambda count: bar.advance(task, count)
        return
    yield _Lines(screen, total).advance


class _Lines:
    """Progress as plain lines."""

    def __init__(self, screen: Console, total: int) -> None:
        self.screen = screen
        self.total = total
        self.done = 0
        self.began = self.said = time.monotonic()

    def advance(self, count: int) -> None:
        from isthmus.cli.display import clock

        self.done += count
        now = time.monotonic()
        if self.done < self.total and now - self.said < SECONDS:
            return
        self.said = now
        speed = self.done / max(now - self.began, 1e-9)
        left = clock((self.total - self.done) / speed)
        self.screen.print(
            f"questions {self.done}/{self.total}  {speed:.1f} questions/s  ETA {left}"
        )
