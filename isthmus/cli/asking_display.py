"""How far a chat model's asking has come: a bar in a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isthmus.cli.display import clock

if TYPE_CHECKING:
    from rich.console import Console

    from isthmus.core.chat import Progress as Asked
    from isthmus.core.chat import Watcher

SECONDS = 10.0
"""Between two lines where output is no terminal."""


@contextmanager
def watching(screen: Console, what: str) -> Iterator[Watcher]:
    """Gives what `ask` is to tell. `what` is counted: `replies`."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    if not screen.is_terminal:
        yield _Lines(screen, what).show
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns, console=screen) as bar:
        task = bar.add_task(what, total=None, speed="")

        def show(progress: Asked) -> None:
            speed = describe(progress)
            bar.update(task, completed=progress.done, total=progress.total, speed=speed)

        yield show


def describe(asked: Asked) -> str:
    """`41.2/s  ETA 1:02  16 of 32 under way  $0.41, $3.10 in all`: cost where there is some."""
    parts = [f"{asked.rate:.1f}/s"]
    if asked.eta is not None and asked.total != asked.done:
        parts.append(f"ETA {clock(asked.eta)}")
    if asked.under_way:
        parts.append(f"{asked.under_way} of {asked.limit} under way")
    if asked.failed:
        parts.append(f"{asked.failed:,} without reply")
    cost = asked.spend.cost + asked.spend.unmetered_cost
    if cost:
        more = "" if asked.forecast is None else f", ${asked.forecast:.2f} in all"
        parts.append(f"${cost:.2f}{more}")
    elif asked.spend.tokens:
        parts.append(f"{asked.spend.tokens:,} tokens")
    return "  ".join(parts)


class _Lines:
    """A line now and then, and one at the end."""

    def __init__(self, screen: Console, what: str) -> None:
        self.screen, self.what = screen, what
        self.said = time.monotonic()

    def show(self, progress: Asked) -> None:
        asked = progress
        now = time.monotonic()
        if asked.done != asked.total and now - self.said < SECONDS:
            return
        self.said = now
        of = "" if asked.total is None else f"/{asked.total:,}"
        text = f"{self.what} {asked.done:,}{of}  {describe(asked)}"
        self.screen.print(text, markup=False, highlight=False, soft_wrap=True)
