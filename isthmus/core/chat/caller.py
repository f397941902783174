"""The thread in which the workers' event loop runs, and the way there and back.

Calls go on while whoever asks is busy with what came. Outcomes come over in handfuls: as many as
are ready at one turn of the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from isthmus.core.chat.attempt import Pending
from isthmus.core.chat.budget import Budget, Spend
from isthmus.core.chat.config import AskConfig
from isthmus.core.chat.journal import Journal
from isthmus.core.chat.outcome import Outcome
from isthmus.core.chat.workers import Workers
from isthmus.core.chat.writer import Writer
from isthmus.core.contracts import ChatModel


class Caller:
    """Calls one model from `start` until the last outcome after `finish`, or until it is stopped.
    Its methods are for the thread that asks."""

    def __init__(self, model: ChatModel, journal: Journal, config: AskConfig) -> None:
        self.model, self.journal = model, journal
        self.before = journal.spend()
        self.budget = Budget(config, model, self.before)
        self.workers = Workers(model, config, self.budget, self._announce)
        self._outcomes: SimpleQueue[list[Outcome] | None] = SimpleQueue()
        self._ready: list[Outcome] = []
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

    def take(self, seconds: float) -> list[Outcome] | None:
        """What became of some requests, nothing if none came in time; None at the very end."""
        if self._ended:
            return None
        try:
            outcomes = self._outcomes.get(timeout=seconds)
        except Empty:
            return []
        self._ended = outcomes is None
        return outcomes

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def _tell(self, what: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:
            return  # it has ended, and its last outcomes wait to be taken

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        except BaseException as error:
            self.workers.stopped_by = error
        finally:
            self._outcomes.put(self._ready)
            self._outcomes.put(None)

    async def _main(self) -> None:
        await self.model.open()
        try:
            writer = Writer(self.journal)
            try:
                await self.workers.run(writer)
            finally:
                await writer.close()
        finally:
            await self.model.close()

    def _announce(self, outcome: Outcome) -> None:
        if not self._ready:
            self._loop.call_soon(self._hand_over)
        self._ready.append(outcome)

    def _hand_over(self) -> None:
        self._outcomes.put(self._ready)
        self._ready = []
