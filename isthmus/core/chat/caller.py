"""The thread in which the workers' event loop runs, and the way there and back.

Calls go on while whoever asks is busy with what came. They come over in handfuls: as many as
are ready at one turn of the loop.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

from isthmus.core.chat.attempt import Pending
from isthmus.core.chat.budget import Budget, Spend
from isthmus.core.chat.config import AskConfig
from isthmus.core.chat.journal import Journal
from isthmus.core.chat.settled import Settled
from isthmus.core.chat.workers import Workers
from isthmus.core.chat.writer import Writer
from isthmus.core.contracts import ChatModel


class Caller:
    """Calls one model from `start` until, after `finish`, all is settled, or until it is stopped.
    Its methods are for the thread that asks."""

    def __init__(self, model: ChatModel, journal: Journal, config: AskConfig) -> None:
        self.model, self.journal = model, journal
        self.before = journal.spend()
        self.budget = Budget(config, model, self.before)
        self.workers = Workers(model, config, self.budget, self._announce)
        self._settled: SimpleQueue[list[Settled] | None] = SimpleQueue()
        self._ready: list[Settled] = []
        self._ended = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="chat model", daemon=True)

    @property
    def spend(self) -> Spend:
        """What this run's calls have cost so far."""
        return self.budget.spend - self.before

    @property
    def stopped_by(self) -> BaseException | int | None:
        """What stopped it before its end: an error, or the number of a signal."""
        return self.workers.stopped_by

    def start(self) -> None:
        """Open the model and begin."""
        self._thread.start()

    def add(self, requests: Sequence[Pending]) -> None:
        """More to ask."""
        self._tell(self.workers.add, requests)

    def finish(self) -> None:
        """Nothing more will be added."""
        self._tell(self.workers.finish)

    def stop(self, why: BaseException | int | None = None) -> None:
        """Take nothing more up; what is under way comes to its end."""
        self._tell(self.workers.stop, why)

    def take(self, seconds: float) -> list[Settled] | None:
        """What became of some requests, nothing if none came in time; None at the very end."""
        if self._ended:
            return None
        try:
            settled = self._settled.get(timeout=seconds)
        except Empty:
            return []
        self._ended = settled is None
        return settled

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def _tell(self, what: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:
            return  # it has ended, and the last that were settled wait to be taken

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        except BaseException as error:
            self.workers.stopped, self.workers.stopped_by = True, error
        finally:
            self._settled.put(self._ready)
            self._settled.put(None)

    async def _main(self) -> None:
        await self.model.open()
        try:
            writer = Writer(self.journal)
            try:
                with _little_garbage():
                    await self.workers.run(writer)
            finally:
                await writer.close()
        finally:
            await self.model.close()

    def _announce(self, settled: Settled) -> None:
        if not self._ready:
            self._loop.call_soon(self._hand_over)
        self._ready.append(settled)

    def _hand_over(self) -> None:
        self._settled.put(self._ready)
        self._ready = []


@contextmanager
def _little_garbage() -> Iterator[None]:
    """What is there by now stays there: to look through a library's hundred thousand objects for
    garbage, again and again, takes a sixth of the time of all calls."""
    ours = gc.get_freeze_count() == 0
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
