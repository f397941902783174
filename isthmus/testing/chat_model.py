"""Does a chat model keep its contract (`isthmus.core.contracts.chat_model`)?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from isthmus.core.contracts import (
    BatchChatModel,
    ChatModel,
    ChatParameters,
    ChatReply,
    ChatRequest,
    Turn,
)
from isthmus.errors import ChatBroken, ChatFailure
from isthmus.testing.promises import check_config, promise

NOISE = ("", "null", "[]", "{", '{"text": 3}', '["a"]', "\ud800", "[" * 10_000)
"""What no model means by a reply."""


def check_chat_model(
    config: ChatModel.Config,
    requests: Sequence[ChatRequest] | None = None,
    secrets: Sequence[str] = (),
) -> None:
    """Ask the model and try every promise. Raises ContractBroken.

    It is asked for real: start a server on this machine for one that needs it. `requests` are ones
    that it can answer, where the kit's own two are not; `secrets` what nobody may get to see.
    """
    check_config(config)
    model: ChatModel = config.build()
    name = type(model).__qualname__
    _check_identity(name, model, config)
    asked = list(requests or _requests())
    raws = asyncio.run(_asked(model, asked))
    for request, raw in zip(asked, raws, strict=True):
        where = f"{name}.reply to {request.id!r}"
        if isinstance(raw, ChatFailure):
            promise(False, f"{where}: the kit needs requests that are answered; it failed: {raw}")
            return
        promise(isinstance(raw, str), f"{where}: it returns text, not {raw!r:.60}")
        _check_reply(f"{name}.read", config, raw)
        for secret in secrets:
            promise(secret not in raw, f"{where}: a secret is in what the journal would keep")
    for secret in secrets:
        shown = f"{model!r} {config!r} {model.identity()}"
        promise(secret not in shown, f"{name}: a secret is in its representation or identity")
    _check_noise(f"{name}.read", model)


def _requests() -> list[ChatRequest]:
    parameters = ChatParameters(max_tokens=8)
    words = ("What is a boat?", "Name a colour.")
    return [
        ChatRequest(f"kit-{number}", (Turn("user", (text,)),), parameters=parameters)
        for number, text in enumerate(words)
    ]


async def _asked(model: ChatModel, requests: Sequence[ChatRequest]) -> list[str | ChatFailure]:
    """All of them at once, as `isthmus.core.chat` does."""
    await model.open()
    try:
        if not isinstance(model, BatchChatModel):
            return list(await asyncio.gather(*(_one(model, request) for request in requests)))
        raws: list[str | ChatFailure] = []
        for first in range(0, len(requests), model.batch_size):
            batch = requests[first : first + model.batch_size]
            replies = await model.replies(batch)
            promise(
                len(replies) == len(batch),
                f"{type(model).__qualname__}.replies: {len(replies)} for {len(batch)} requests",
            )
            raws += replies
        return raws
    finally:
        await model.close()


async def _one(model: ChatModel, request: ChatRequest) -> str | ChatFailure:
    try:
        return await model.reply(request)
    except ChatFailure as failure:
        return failure


def _check_identity(name: str, model: ChatModel, config: ChatModel.Config) -> None:
    said = model.identity()
    promise(
        json.loads(json.dumps(said)) == said,
        f"{name}.identity: replies are kept under it as JSON, so it is made of plain values",
    )
    promise(
        config.build().identity() == said,
        f"{name}.identity: built again it is another, and every reply would be asked for again",
    )
    unknown = model.incidental - set(type(config).model_fields)
    promise(not unknown, f"{name}.incidental: no field is called {', '.join(sorted(unknown))}")


def _check_reply(where: str, config: ChatModel.Config, raw: str) -> None:
    fresh: ChatModel = config.build()
    reply = fresh.read(raw)
    promise(isinstance(reply, ChatReply), f"{where}: it gives a ChatReply, not {reply!r:.60}")
    promise(
        config.build().read(raw) == reply,
        f"{where}: the same text is read as the same reply whenever it is read, before `open`, too",
    )
    spent = reply.spent
    promise(spent is None or min(spent) >= 0, f"{where}: tokens are counts, not {spent}")


def _check_noise(where: str, model: ChatModel) -> None:
    for noise in NOISE:
        try:
            reply = model.read(noise)
        except ChatBroken:
            continue
        except Exception as error:
            promise(False, f"{where}: {noise[:20]!r} raises {type(error).__name__}, not ChatBroken")
            return
        promise(isinstance(reply, ChatReply), f"{where}: {noise[:20]!r} is read as {reply!r:.60}")
