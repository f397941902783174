"""Asking a chat model: requests in, replies out, and the journal between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized

from isthmus.core.chat.attempt import Pending, read
from isthmus.core.chat.budget import Spend, check_capped, worst_of
from isthmus.core.chat.caller import Caller
from isthmus.core.chat.config import AskConfig
from isthmus.core.chat.journal import Journal
from isthmus.core.chat.keys import Keys
from isthmus.core.chat.progress import Meter, Watcher
from isthmus.core.chat.settled import Settled
from isthmus.core.chat.signals import heard
from isthmus.core.contracts import ChatModel, ChatRequest
from isthmus.errors import ChatBroken, ImageError, InputError, Interrupted

AHEAD = 3
"""Open requests for each that can be under way."""
SECONDS = 0.2
"""How long replies are waited for before a watcher is told that none came."""


def ask(
    model: ChatModel,
    requests: Iterable[ChatRequest],
    journal: Journal,
    config: AskConfig | None = None,
    *,
    watch: Watcher | None = None,
    total: int | None = None,
) -> Iterator[Settled]:
    """What becomes of every request, as it comes: what the journal has at once, the rest when it
    is answered. A journal that may only be read asks nothing, and then they come in order.

    Requests are taken as they are needed, so there may be any number. The model is opened when the
    first is not in the journal. `total` counts them for the watcher where they have no length.

    Raises InputError for what cannot be asked at all, ChatUnusable where the model answers nobody,
    OutOfBudget before a cap is exceeded, Interrupted after Ctrl-C or SIGTERM, WorkError where the
    journal takes no more or the server tries one's patience: each after what was under way has
    come to its end and was given out.
    """
    if total is None and isinstance(requests, Sized):
        total = len(requests)
    asking = _Asking(model, journal, config or AskConfig(), Meter(total), watch)
    with heard(asking.interrupt):
        try:
            for request in requests:
                yield from asking.put(request)
                if asking.stopping:
                    break
            yield from asking.rest()
        finally:
            asking.end()
    asking.complain()


class _Asking:
    """One run of `ask`, on the thread of whoever asks."""

    def __init__(
        self,
        model: ChatModel,
        journal: Journal,
        config: AskConfig,
        meter: Meter,
        watch: Watcher | None,
    ) -> None:
        self.model, self.journal, self.config = model, journal, config
        self.meter, self.watch = meter, watch
        self.keys = Keys(model)
        self.caller: Caller | None = None
        self.signal: int | None = None
        self._open: dict[str, list[ChatRequest]] = {}
        """Requests that are not settled, by key; those that are alike share one call."""
        self._added: list[Pending] = []

    @property
    def stopping(self) -> bool:
        """Whether no more requests are wanted."""
        stopped = self.caller is not None and self.caller.workers.stopped
        return stopped or self.signal is not None

    def interrupt(self, number: int) -> None:
        """A signal came."""
        self.signal = number
        if self.caller is not None:
            self.caller.stop(number)

    def put(self, request: ChatRequest) -> Iterator[Settled]:
        """Take one more request; gives what is settled by now."""
        try:
            key = self.keys.of(request)
        except ImageError as error:
            yield self._count(Settled(request, "", missing="refused", reason=str(error)))
            return
        if key in self._open:
            self._open[key].append(request)
        elif (known := self._known(request, key)) is not None:
            yield self._count(known)
        else:
            caller = self._started(request)
            self._open[key] = [request]
            self._added.append(Pending(request, key, worst_of(request, self.model.config.price)))
            if len(self._added) >= min(caller.workers.batch_size, self._room):
                self._hand_on(caller)
            while len(self._open) >= self._room and not self.stopping:
                yield from self._come(caller)

    def rest(self) -> Iterator[Settled]:
        """What is still to come."""
        if self.caller is None:
            return
        self._hand_on(self.caller)
        self.caller.finish()
        while (settled := self._taken(self.caller)) is not None:
            yield from settled

    def end(self) -> None:
        """Let what is under way come to its end, and tell the watcher how it ended."""
        if self.caller is not None:
            self.caller.stop()
            self.caller.join()
        self._tell(now=True)

    def complain(self) -> None:
        """Raise what stopped it, if something did."""
        why = self.signal if self.caller is None else self.caller.stopped_by or self.signal
        if isinstance(why, BaseException):
            raise why
        if why is not None:
            of = "" if self.meter.total is None else f" of {self.meter.total:,}"
            raise Interrupted(
                f"stopped by a signal after {self.meter.done:,}{of} requests. Every reply is kept: "
                "the same run goes on from there",
                why,
            )

    @property
    def _room(self) -> int:
        """Requests that may be open: enough that no worker waits for the next."""
        if self.caller is None:
            return 1
        workers = self.caller.workers
        return workers.batch_size * workers.gate.most * AHEAD

    def _known(self, request: ChatRequest, key: str) -> Settled | None:
        """What the journal knows of it."""
        for raw in self.journal.replies(key):
            try:
                return Settled(request, key, read(self.model, raw), recalled=True)
            except ChatBroken:
                continue
        reason = None if self.config.ask_refused else self.journal.refusal(key)
        if reason is not None:
            return Settled(request, key, missing="refused", reason=reason, recalled=True)
        if self.journal.read_only:
            reason = f"{self.journal.path} has no reply to it, and may only be read"
            return Settled(request, key, missing="unasked", reason=reason)
        return None

    def _started(self, request: ChatRequest) -> Caller:
        if request.images and not self.model.sees:
            raise InputError(
                f"request {request.id}: has {len(request.images)} images, and chat model "
                f"{self.model.name!r} takes words alone"
            )
        if self.caller is None:
            self.caller = Caller(self.model, self.journal, self.config)
            self.caller.start()
        if self.caller.budget.capped:
            check_capped(request)
        return self.caller

    def _hand_on(self, caller: Caller) -> None:
        if self._added:
            caller.add(self._added)
            self._added = []

    def _come(self, caller: Caller) -> Iterator[Settled]:
        self._hand_on(caller)
        yield from self._taken(caller) or ()

    def _taken(self, caller: Caller) -> list[Settled] | None:
        """What came in a moment, for every request that it answers; None at the end."""
        came = caller.take(SECONDS)
        self._tell()
        if came is None:
            return None
        return [
            self._count(Settled(request, o.key, o.reply, o.missing, o.reason))
            for o in came
            for request in self._open.pop(o.key)
        ]

    def _count(self, settled: Settled) -> Settled:
        self.meter.done += 1
        self.meter.recalled += settled.recalled
        self.meter.failed += settled.reply is None
        if settled.recalled:
            self._tell()
        return settled

    def _tell(self, now: bool = False) -> None:
        if self.watch is None or not (now or self.meter.due()):
            return
        gate = None if self.caller is None else self.caller.workers.gate
        spend = Spend() if self.caller is None else self.caller.spend
        inside, limit = (0, 0) if gate is None else (gate.inside, int(gate.limit))
        self.watch(self.meter.progress(spend, inside, limit))
