"""The conformance kit catches chat models that break their promises."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from isthmus.core.contracts import BatchChatModel, ChatModel, ChatReply, ChatRequest
from isthmus.errors import ChatFailure, ChatUnreachable
from isthmus.testing import ContractBroken, check_chat_model

COUNTER = itertools.count()


class Honest(ChatModel, name="honest"):
    """Repeats what it is asked, as one file of a third party would."""

    class Config(ChatModel.Config):
        """Configuration of `honest`."""

        model: str = "echo"
        """Its name."""

    async def reply(self, request: ChatRequest) -> str:
        text = request.turns[-1].text
        return ChatReply(text, prompt_tokens=len(text), completion_tokens=len(text)).raw()


class Silent(Honest, name="silent"):
    """Is never there."""

    async def reply(self, request: ChatRequest) -> str:
        raise ChatUnreachable("gone")


class Eager(Honest, name="eager"):
    """Understands what it should only bring."""

    async def reply(self, request: ChatRequest) -> Any:
        return ChatReply("Hi")


class Moody(Honest, name="moody"):
    """Reads the same text otherwise each time."""

    def read(self, raw: str) -> ChatReply:
        super().read(raw)
        return ChatReply(f"{next(COUNTER)}")


class Clumsy(Honest, name="clumsy"):
    """Stumbles over noise."""

    def read(self, raw: str) -> ChatReply:
        import json

        return ChatReply(json.loads(raw)["text"])


class Owing(Honest, name="owing"):
    """Counts less than nothing."""

    def read(self, raw: str) -> ChatReply:
        super().read(raw)
        return ChatReply("a", prompt_tokens=-1, completion_tokens=1)


class Restless(Honest, name="restless"):
    """Is another one each time."""

    def identity(self) -> dict[str, Any]:
        return {"number": next(COUNTER)}


class Odd(Honest, name="odd"):
    """Cannot be written down."""

    def identity(self) -> dict[str, Any]:
        return {"parts": (1, 2)}


class Vague(Honest, name="vague"):
    """Names a field that it has not."""

    incidental = frozenset({"price", "keys"})


class Talkative(Honest, name="talkative"):
    """Tells its key."""

    async def reply(self, request: ChatRequest) -> str:
        return ChatReply("my key is sk-1").raw()


class Short(BatchChatModel, name="short"):
    """Forgets a request of a batch."""

    class Config(BatchChatModel.Config):
        """Configuration of `short`."""

    @property
    def batch_size(self) -> int:
        return 2

    async def replies(self, requests: Sequence[ChatRequest]) -> Sequence[str | ChatFailure]:
        return [ChatReply("a").raw()]


def test_an_honest_one_passes() -> None:
    check_chat_model(Honest.Config(), secrets=["sk-1"])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Silent, "the kit needs requests that are answered; it failed: gone"),
        (Eager, "it returns text, not ChatReply"),
        (Moody, "the same text is read as the same reply"),
        (Clumsy, "raises JSONDecodeError, not ChatBroken"),
        (Owing, "tokens are counts"),
        (Restless, "built again it is another"),
        (Odd, "it is made of plain values"),
        (Vague, "no field is called keys"),
        (Talkative, "a secret is in what the journal would keep"),
        (Short, "1 for 2 requests"),
    ],
)
def test_a_dishonest_one_is_caught(part: Any, message: str) -> None:
    with pytest.raises(ContractBroken, match=message):
        check_chat_model(part.Config(), secrets=["sk-1"])
