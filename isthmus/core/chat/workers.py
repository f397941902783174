"""As many workers as calls may be under way: each takes requests, calls, has the journal keep what
came, and tries again what failed. All of it happens in one event loop.

A request is settled, and that is announced, when it is on the disk. A place among the calls
under way is given back after that, too, so that a crash loses no more replies than that many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from isthmus.core.chat.attempt import Pending, Result, attempt
from isthmus.core.chat.budget import Budget, Spend, Worst
from isthmus.core.chat.call import Call, Refusal
from isthmus.core.chat.config import AskConfig
from isthmus.core.chat.gate import Gate
from isthmus.core.chat.keys import canonical, written_turns
from isthmus.core.chat.retry import wait_before
from isthmus.core.chat.settled import Missing, Settled
from isthmus.core.chat.writer import Writer
from isthmus.core.contracts import BatchChatModel, ChatModel
from isthmus.errors import ChatFailure, ChatOverloaded, ChatRefused, ChatUnusable, WorkError

OVERLOADS = 20
"""Waits of a request, for each of its tries, after which it is given up all the same: some servers
say that they are overloaded where a request is too large for them."""

Announce = Callable[[Settled], None]


class Workers:
    """Work until all that was added is settled and `finish` was called, or until `stop`."""

    def __init__(
        self, model: ChatModel, config: AskConfig, budget: Budget, announce: Announce
    ) -> None:
        self.model, self.config, self.budget, self.announce = model, config, budget, announce
        self.asked = str(model.identity().get("model") or model.name)
        self.batch_size = model.batch_size if isinstance(model, BatchChatModel) else 1
        self.gate = Gate(min(config.concurrency, model.most_calls or config.concurrency))
        self.stopped = False
        self.stopped_by: BaseException | int | None = None
        self._waiting: deque[Pending] = deque()
        self._more, self._feeding = asyncio.Event(), True
        self._tasks: list[asyncio.Task[None]] = []
        self._busy: set[Any] = set()
        self._failing_since: float | None = None

    def add(self, requests: Iterable[Pending]) -> None:
        """More to ask."""
        self._waiting.extend(requests)
        self._more.set()

    def finish(self) -> None:
        """Nothing more will be added."""
        self._feeding = False
        self._more.set()

    def stop(self, why: BaseException | int | None) -> None:
        """Take nothing more up. Calls under way come to their end, unless they can be taken up
        again; whoever waits does not."""
        if self.stopped:
            return
        self.stopped, self.stopped_by = True, why
        resumes = isinstance(self.model, BatchChatModel) and self.model.resumes
        for task in self._tasks:
            if resumes or task not in self._busy:
                task.cancel()

    async def run(self, writer: Writer) -> None:
        """All of it."""
        self._writer = writer
        if not self.stopped:
            self._tasks = [asyncio.create_task(self._work()) for _ in range(self.gate.most)]
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self) -> None:
        try:
            while group := await self._next():
                while group and not self.stopped:
                    group = await self._call(group)
        except Exception as error:
            self.stop(error)

    async def _next(self) -> list[Pending]:
        """The next requests to call for; none when there will be no more."""
        while not self._waiting and self._feeding and not self.stopped:
            self._more.clear()
            await self._more.wait()
        if self.stopped:
            return []
        return [self._waiting.popleft() for _ in range(min(self.batch_size, len(self._waiting)))]

    async def _call(self, group: list[Pending]) -> list[Pending]:
        """Call once; returns those that are to be called for again, when that is due."""
        entered = await self.gate.enter()
        try:
            results = await self._made(group)
        finally:
            self.gate.leave()
        again = [result for result in results if self._goes_on(result, entered)]
        if not again or self.stopped:
            return []
        await asyncio.sleep(max(self._wait(result) for result in again))
        return [result.pending for result in again]

    async def _made(self, group: list[Pending]) -> list[Result]:
        """The call itself, from the budget to the journal."""
        worst = sum((pending.worst for pending in group), Worst())
        await self.budget.reserve(worst)
        task, spend = asyncio.current_task(), Spend()
        self._busy.add(task)
        try:
            results = await attempt(self.model, group, self.asked, self.config.timeout)
            spend = sum((result.spend for result in results), spend)
            rows: list[Call | Refusal] = [result.call for result in results]
            rows += [_refusal(r) for r in results if isinstance(r.failure, ChatRefused)]
            await self._writer.put(rows)
        finally:
            self._busy.discard(task)
            self.budget.settle(worst, spend)
        return results

    def _goes_on(self, result: Result, entered: int) -> bool:
        """Whether it is to be tried again; otherwise it is settled, and announced."""
        pending, failure = result.pending, result.failure
        if failure is None:
            self._failing_since = None
            self.gate.answered()
            self.announce(Settled(pending.request, pending.key, reply=result.reply))
            return False
        if isinstance(failure, ChatUnusable):
            self.stop(failure)
            return False
        if isinstance(failure, ChatRefused):
            self._give_up(pending, "refused", failure)
            return False
        self._lose_patience(failure)
        pending.waits += 1
        if isinstance(failure, ChatOverloaded):
            self.gate.overloaded(entered)
        else:
            pending.tries += 1
        most = self.config.attempts
        if pending.tries < most and pending.waits < most * OVERLOADS:
            return True
        self._give_up(pending, "gave_up", failure)
        return False

    def _give_up(self, pending: Pending, why: Missing, failure: ChatFailure) -> None:
        self.announce(Settled(pending.request, pending.key, missing=why, reason=str(failure)))

    def _wait(self, result: Result) -> float:
        pending, failure = result.pending, result.failure or ChatFailure("")
        return wait_before(pending.waits, failure, self.config, pending.key)

    def _lose_patience(self, failure: ChatFailure) -> None:
        now, patience = asyncio.get_running_loop().time(), self.config.patience
        self._failing_since = self._failing_since or now
        if (failure.retry_after or 0) > patience:
            why = f"the server wants to be left alone for {failure.retry_after:,.0f} s: {failure}"
        elif now - self._failing_since > patience:
            why = f"not one reply in {patience:g} s; the last failure: {failure}"
        else:
            return
        self.stop(WorkError(f"{why}. Every reply so far is kept; the same run goes on from there"))


def _refusal(result: Result) -> Refusal:
    request = result.pending.request
    words = {
        "turns": written_turns(request),
        "images": len(request.images),
        "parameters": request.parameters.model_dump(mode="json", exclude_none=True),
    }
    return Refusal(result.call.key, result.call.request, result.call.message, canonical(words))
