"""How far asking has come: what a progress bar shows. Drawing it is the command line's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from isthmus.core.chat.budget import Spend


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run of `ask` stands. `total` is None where the requests were not counted.

    `recalled` of `done` were in the journal already; `failed` have no reply. `spend` is this
    run's. `rate` is replies a second, of late; `eta` the seconds that the rest will take, and
    `forecast` the US dollars that the whole run will have cost, None while nobody can tell.
    """

    total: int | None
    done: int
    recalled: int
    failed: int
    under_way: int
    limit: int
    seconds: float
    rate: float
    eta: float | None
    spend: Spend
    forecast: float | None


class Watcher(Protocol):
    """Hears how far it has come, on the thread that asks: a few times a second, and at the end."""

    def __call__(self, progress: Progress) -> None: ...


class Meter:
    """Counts what was done. The rate is that of the last minute or so."""

    EVERY = 0.25
    SPAN = 60.0

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.done = self.recalled = self.failed = 0
        self.began = self._told = time.monotonic()
        self._marks = [(self.began, 0)]

    def due(self) -> bool:
        """Whether a watcher is to be told now."""
        now = time.monotonic()
        if now - self._told < self.EVERY:
            return False
        self._told = now
        return True

    def progress(self, spend: Spend, under_way: int, limit: int) -> Progress:
        """Where it stands."""
        now = time.monotonic()
        asked = self.done - self.recalled
        self._marks.append((now, asked))
        while len(self._marks) > 2 and now - self._marks[0][0] > self.SPAN:
            self._marks.pop(0)
        then, before = self._marks[0]
        rate = (asked - before) / max(now - then, 1e-9)
        left = None if self.total is None else self.total - self.done
        eta = None if left is None or not rate else left / rate
        cost = spend.cost + spend.unmetered_cost
        return Progress(
            total=self.total,
            done=self.done,
            recalled=self.recalled,
            failed=self.failed,
            under_way=under_way,
            limit=limit,
            seconds=now - self.began,
            rate=rate,
            eta=0.0 if left == 0 else eta,
            spend=spend,
            forecast=None if left is None or not asked else cost + left * cost / asked,
        )
