"""One call, for one request or a batch of them, and what the books say of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from isthmus.core.chat.budget import Spend, Worst
from isthmus.core.chat.call import ANSWERED, Call
from isthmus.core.chat.retry import one_line
from isthmus.core.chat.words import whole
from isthmus.core.contracts import BatchChatModel, ChatModel, ChatReply, ChatRequest
from isthmus.errors import (
    ChatBroken,
    ChatFailure,
    ChatRefused,
    ChatUnreachable,
    InputError,
    IsthmusError,
    WorkError,
)


@dataclass(slots=True)
class Pending:
    """A request that is not settled yet. `tries` failed; `waits` counts every time that it had to
    wait, for an overloaded server too."""

    request: ChatRequest
    key: str
    worst: Worst
    tries: int = 0
    waits: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What one call brought for one request: a reply or a failure, and its row in the journal."""

    pending: Pending
    call: Call
    spend: Spend
    reply: ChatReply | None
    failure: ChatFailure | None


async def attempt(
    model: ChatModel, group: Sequence[Pending], asked: str, timeout: float
) -> list[Result]:
    """Call once for the whole group; `asked` names the model. Raises WorkError for one that breaks
    its contract."""
    began = datetime.now(UTC).isoformat(timespec="milliseconds")
    start = time.monotonic()
    came = await _call(model, [pending.request for pending in group], timeout)
    seconds = round(time.monotonic() - start, 4)
    return [
        _result(model, pending, raw, asked, began, seconds)
        for pending, raw in zip(group, came, strict=True)
    ]


async def _call(
    model: ChatModel, requests: Sequence[ChatRequest], timeout: float
) -> Sequence[str | ChatFailure]:
    try:
        if isinstance(model, BatchChatModel):
            came = await model.replies(requests)
        else:
            async with asyncio.timeout(timeout):
                came = [await model.reply(requests[0])]
    except TimeoutError:
        late = ChatUnreachable(f"no reply in {timeout:g} s", uncounted=True)
        return [late] * len(requests)
    except ChatFailure as failure:
        return [failure] * len(requests)
    except InputError as error:  # an image that cannot be read, a recorded answer that is not there
        return [ChatRefused(str(error))] * len(requests)
    except IsthmusError:
        raise
    except Exception as error:
        raise WorkError(
            f"chat model {model.name!r} failed with {type(error).__name__}: {one_line(str(error))}"
        ) from error
    if len(came) != len(requests):
        raise WorkError(
            f"chat model {model.name!r} gave {len(came)} replies for {len(requests)} requests"
        )
    return came


def _result(
    model: ChatModel,
    pending: Pending,
    raw: str | ChatFailure,
    asked: str,
    began: str,
    seconds: float,
) -> Result:
    failure = raw if isinstance(raw, ChatFailure) else None
    reply = None
    if isinstance(raw, str):
        try:
            reply = read(model, raw)
        except ChatFailure as found:
            failure = found
    spent = reply.spent if reply else failure.spent if failure else None
    guessed = spent is None and (reply is not None or _may_cost(failure))
    spend = _spend(model, spent, pending.worst if guessed else Worst())
    call = Call(
        key=pending.key,
        request=whole(pending.request.id),
        asked=asked,
        ending=type(failure).__name__ if failure else ANSWERED,
        message=one_line(str(failure)) if failure else "",
        raw=raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else None,
        model=whole(reply.model) if reply else "",
        prompt_tokens=spent[0] if spent else None,
        completion_tokens=spent[1] if spent else None,
        cost=spend.cost,
        unmetered_tokens=spend.unmetered_tokens,
        unmetered_cost=spend.unmetered_cost,
        seconds=seconds,
        began=began,
    )
    return Result(pending, call, spend, reply, failure)


def read(model: ChatModel, raw: str) -> ChatReply:
    """`model.read`, which may be given anything: whatever it stumbles over is ChatBroken."""
    try:
        return model.read(raw)
    except ChatFailure:
        raise
    except Exception as error:
        raise ChatBroken(f"{type(error).__name__} while the reply was read") from None


def _may_cost(failure: ChatFailure | None) -> bool:
    return failure is not None and (failure.uncounted or isinstance(failure, ChatBroken))


def _spend(model: ChatModel, spent: tuple[int, int] | None, guess: Worst) -> Spend:
    price = model.config.price
    prompt, completion = spent or (0, 0)
    return Spend(
        calls=1,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=price.cost(prompt, completion) if price else 0.0,
        unmetered=int(guess.tokens > 0),
        unmetered_tokens=guess.tokens,
        unmetered_cost=guess.cost,
    )
