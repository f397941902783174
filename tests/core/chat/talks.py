"""Requests and models for tests of asking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from isthmus.core.chat import AskConfig, Journal, Settled, ask
from isthmus.core.config import create
from isthmus.core.contracts import (
    BatchChatModel,
    ChatModel,
    ChatParameters,
    ChatReply,
    ChatRequest,
    Turn,
)
from isthmus.errors import ChatFailure
from tests.loopback import Asked, Loopback, loopback, words_for

QUICK = {"backoff": 0.02, "longest_backoff": 0.2}
"""Waits that a test can stay for."""


def request(number: int, **parameters: Any) -> ChatRequest:
    """`say NUMBER`, with the id `rNUMBER`."""
    turns = (Turn("system", ("Be brief.",)), Turn("user", (f"say {number}",)))
    return ChatRequest(f"r{number}", turns, parameters=ChatParameters(**parameters))


def requests(count: int) -> list[ChatRequest]:
    """That many different ones."""
    return [request(number) for number in range(count)]


def endpoint(server: Loopback, **fields: Any) -> ChatModel:
    """The `openai` model that asks this server."""
    model: ChatModel = create("chat_model", "openai", model="m", base_url=server.url, **fields)
    return model


def settle(
    model: ChatModel, asked: Iterable[ChatRequest], path: Path, **settings: Any
) -> dict[str, Settled]:
    """Request id -> what became of it, asked with a journal in this file."""
    with Journal(path) as journal:
        given = list(ask(model, asked, journal, AskConfig(**{**QUICK, **settings})))
    by_id = {settled.request.id: settled for settled in given}
    assert len(by_id) == len(given), "a request is settled twice"
    return by_id


def sent(path: Path, asked: ChatRequest, **fields: Any) -> Asked:
    """What a server sees of this, asked with a journal in this file."""
    with loopback() as server:
        settle(endpoint(server, **fields), [asked], path)
        (seen,) = server.ledger
    return seen


def right(settled: Settled) -> bool:
    """Whether the reply is what the loopback server says to this."""
    prompt = settled.request.turns[-1].text
    return settled.reply is not None and settled.reply.text == words_for(prompt)


class Toy(ChatModel, name="toy"):
    """Answers by a function of the prompt, which may raise; counts its calls."""

    class Config(ChatModel.Config):
        model: str = "toy-1"

    config: Config

    def __init__(self, config: Config, answer: Callable[[str], str] = words_for) -> None:
        super().__init__(config)
        self.answer = answer
        self.asked: list[str] = []
        self.opened = 0

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.opened -= 1

    async def reply(self, request: ChatRequest) -> str:
        prompt = request.turns[-1].text
        self.asked.append(prompt)
        await asyncio.sleep(0)
        text = self.answer(prompt)
        return ChatReply(text, model="toy-1", prompt_tokens=10, completion_tokens=5).raw()


class Toys(BatchChatModel, name="toys"):
    """The same by three at a time; `answer` may return a failure."""

    class Config(BatchChatModel.Config):
        """Configuration of `toys`."""

    config: Config

    def __init__(self, config: Config, answer: Callable[[str], str | ChatFailure]) -> None:
        super().__init__(config)
        self.answer = answer
        self.calls: list[list[str]] = []

    @property
    def batch_size(self) -> int:
        return 3

    async def replies(self, requests: Sequence[ChatRequest]) -> Sequence[str | ChatFailure]:
        prompts = [request.turns[-1].text for request in requests]
        self.calls.append(prompts)
        said = [self.answer(prompt) for prompt in prompts]
        return [ChatReply(text).raw() if isinstance(text, str) else text for text in said]
