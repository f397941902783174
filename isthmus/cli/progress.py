"""How far a long task is: a bar in a terminal; elsewhere a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

SECONDS = 10.0
"""Between two lines where output is no terminal."""

Advance = Callable[[int, str], None]
"""How many are done more, and at what it is now."""


@contextmanager
def progress(screen: Console, total: int, unit: str = "questions") -> Iterator[Advance]:
    """Shows it until the block ends."""
    from rich.markup import escape
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    if screen.is_terminal:
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=screen) as bar:
            task = bar.add_task(unit, total=total)

            def advance(count: int, at: str) -> None:
                bar.update(task, advance=count, description=escape(at) or unit)

            yield advance
        return
    yield _Lines(screen, total, unit).advance


class _Lines:
    """Progress as plain lines."""

    def __init__(self, screen: Console, total: int, unit: str) -> None:
        self.screen = screen
        self.total = total
        self.unit = unit
        self.done = 0
        self.began = self.said = time.monotonic()

    def advance(self, count: int, at: str) -> None:
        from isthmus.cli.display import clock

        self.done += count
        now = time.monotonic()
        if self.done < self.total and now - self.said < SECONDS:
            return
        self.said = now
        speed = self.done / max(now - self.began, 1e-9)
        left = clock((self.total - self.done) / speed) if speed else "?"
        text = f"{self.unit} {self.done}/{self.total}  {speed:.1f} {self.unit}/s  ETA {left}"
        self.screen.print(f"{text}  {at}".rstrip(), markup=False, soft_wrap=True)
