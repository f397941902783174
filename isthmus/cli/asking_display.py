"""How far the asking of chat models is: a bar in a terminal; elsewhere a line now and then.

On the error stream, since the output may be one JSON object.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isthmus.cli.console import console

if TYPE_CHECKING:
    from rich.console import Console

    from isthmus.core.chat import Progress
    from isthmus.evaluate.hearing import Observer

SECONDS = 10.0
"""Between two lines where output is no terminal."""


@contextmanager
def asking_display() -> Iterator[Observer]:
    """Shows it until the block ends."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _Lines(screen)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn())
    with Bars(*columns, TextColumn("{task.fields[at]}", markup=False), console=screen) as bars:
        tasks: dict[str, int] = {}

        def bar(who: str, progress: Progress) -> None:
            from rich.markup import escape

            if who not in tasks:
                tasks[who] = bars.add_task(escape(who), total=progress.total, at="")
            bars.update(tasks[who], completed=progress.done, at=describe(progress))  # type: ignore[arg-type]

        yield bar


class _Lines:
    """Progress as plain lines, the last of them always."""

    def __init__(self, screen: Console) -> None:
        self.screen = screen
        self.said = time.monotonic()

    def __call__(self, who: str, progress: Progress) -> None:
        now = time.monotonic()
        if progress.done != progress.total and now - self.said < SECONDS:
            return
        self.said = now
        text = f"{who} {progress.done}/{progress.total}  {describe(progress)}"
        self.screen.print(text, markup=False, soft_wrap=True)


def describe(progress: Progress) -> str:
    """`4.1 replies/s  ETA 0:12  $0.0312 of about $0.0840  3 failed  20 from the journal`"""
    from isthmus.cli.display import clock

    eta = "?" if progress.eta is None else clock(progress.eta)
    spent = progress.spend.cost + progress.spend.unmetered_cost
    cost = f"${spent:.4f}" if spent else f"{progress.spend.tokens:,} tokens"
    whole = "" if not spent or progress.forecast is None else f" of about ${progress.forecast:.4f}"
    failed = f"{progress.failed} failed" if progress.failed else ""
    known = f"{progress.recalled} from the journal" if progress.recalled else ""
    parts = (f"{progress.rate:.1f} replies/s", f"ETA {eta}", f"{cost}{whole}", failed, known)
    return "  ".join(filter(None, parts))
