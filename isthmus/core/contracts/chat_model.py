"""A chat model: what is asked in words, and perhaps pictures, and answers in words.

Teachers, judges and models of our own are asked through this one contract. A plugin says how one
call is made and how what came back is read. It tries once and raises a `ChatFailure` that says
what went wrong; trying again, limits, the budget and the journal are `isthmus.core.chat`'s.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from isthmus.core.contracts.conversation import Picture, Turn
from isthmus.core.contracts.part import Config, Part, PartConfig
from isthmus.core.contracts.scene import Brief
from isthmus.errors import ChatBroken, ChatFailure

Finish = Literal["stop", "length", "refusal", "other"]
"""Why a reply ended: by itself, at the most tokens allowed, because the model would not, else."""


class ChatParameters(Config):
    """How a reply is drawn. What is absent is left to the model."""

    temperature: float | None = Field(default=None, ge=0)
    """0 takes the likeliest token; above it, tokens are drawn."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Draw from the likeliest tokens that make up this share."""
    max_tokens: int | None = Field(default=1024, gt=0)
    """Longest reply, in tokens; a cap on cost or tokens needs it."""
    seed: int | None = None
    """Of the draws, where the model takes one."""
    json_schema: dict[str, Any] | None = None
    """JSON Schema of the reply, where the model is `structured`; others are not told of it."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question. `id` is the caller's own and stable: it names the request in the journal, in
    messages and in batch files, and two of one run are not alike.

    Turns end with the user's, as a sample's do, and their slots count `images`. `draw` tells
    requests apart that are to be answered several times over; all else being equal, they would
    share one reply. `brief` says the same as the words, as data, to models that read no prose.
    """

    id: str
    turns: tuple[Turn, ...]
    images: tuple[Picture, ...] = ()
    parameters: ChatParameters = field(default_factory=ChatParameters)
    draw: int = 0
    brief: Brief | None = None

    @property
    def number(self) -> int:
        """What a model that draws by itself draws from, with the seed: 32 bits that follow from
        the words and `draw`, wherever the request stands."""
        words = [[turn.role, turn.text] for turn in self.turns]
        said = json.dumps([words, self.draw]).encode()
        return int.from_bytes(hashlib.sha256(said).digest()[:4], "big")


@dataclass(frozen=True, slots=True)
class ChatReply:
    """An answer. `model` is the name that the model gave itself, which may be another than it was
    asked by; tokens are None where it did not count them."""

    text: str
    finish: Finish = "stop"
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def spent(self) -> tuple[int, int] | None:
        """Tokens of the prompt and of the completion, where both are known."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens, self.completion_tokens

    def raw(self) -> str:
        """As `ChatModel.read` reads it back."""
        return json.dumps(asdict(self))


class Price(Config):
    """What tokens cost, in US dollars for a million of them."""

    prompt: float = Field(ge=0)
    """Of the prompt."""
    completion: float = Field(ge=0)
    """Of the completion."""

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for so many."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


class ChatModel(Part, ABC):
    """Answers one request with each call; any number of calls may be under way at once.

    `build()` is light and reaches nothing; `open` is where keys are read and weights loaded.
    """

    kind: ClassVar[str] = "chat_model"
    incidental: ClassVar[frozenset[str]] = frozenset({"price"})
    """Fields of the configuration on which no reply depends: changing one asks nothing again."""

    class Config(PartConfig):
        """Base of a chat model's configuration."""

        price: Price | None = None
        """What tokens cost; absent, no cost is reckoned and none can be capped."""

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def sees(self) -> bool:
        """Whether it takes images; a request with some is refused otherwise."""
        return False

    @property
    def structured(self) -> bool:
        """Whether it keeps to `ChatParameters.json_schema`."""
        return False

    @property
    def reads_brief(self) -> bool:
        """Whether it answers `ChatRequest.brief` and not the words; replies are then kept under
        both. Others are not told of it."""
        return False

    @property
    def most_calls(self) -> int | None:
        """Calls at once that it can use; None leaves it to whoever asks."""
        return None

    def identity(self) -> dict[str, Any]:
        """What of the model determines its replies, as plain values: the key under which a reply
        is kept follows from it and the request. No secret may be among it.

        Fields at their default are left out, so that a version which adds one asks nothing again.
        """
        said = self.config.model_dump(mode="json", exclude_defaults=True)
        return {"type": self.name} | {k: v for k, v in said.items() if k not in self.incidental}

    async def open(self) -> None:
        """Make ready. Raises InputError where that cannot be: no key, no library, no folder."""

    async def close(self) -> None:
        """Let go of what `open` took; called once for each `open`."""

    @abstractmethod
    async def reply(self, request: ChatRequest) -> str:
        """What the model sends, word for word and not yet understood: the journal keeps it so.

        One try. Raises a ChatFailure, whose text holds no secret. It is cancelled where it takes
        too long, and must then let go of its connection.
        """

    def read(self, raw: str) -> ChatReply:
        """The reply in what `reply` returned; the same one whenever it is read, with no network
        and no `open`. Raises ChatBroken, with the tokens `spent` where they can be told.

        This one reads `ChatReply.raw()`, for models that have no format of their own.
        """
        try:
            reply = ChatReply(**json.loads(raw))
        except (ValueError, TypeError, RecursionError):
            raise ChatBroken(f"no reply: {raw[:80]!r}") from None
        counts = reply.prompt_tokens, reply.completion_tokens
        if (
            not isinstance(reply.text, str)
            or not isinstance(reply.model, str)
            or reply.finish not in get_args(Finish)
            or any(count is not None and type(count) is not int for count in counts)
        ):
            raise ChatBroken(f"no reply: {raw[:80]!r}")
        return reply


class BatchChatModel(ChatModel):
    """Answers many requests with one call: a local model, or a queue that takes files.

    Such a call takes as long as it takes; what is cut short is the model's own to decide.
    """

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Requests of one call at most."""

    @property
    def resumes(self) -> bool:
        """Whether a call that was cancelled costs nothing to take up again, in another process
        too. Such a call is not waited for when somebody wants to stop."""
        return False

    @abstractmethod
    async def replies(self, requests: Sequence[ChatRequest]) -> Sequence[str | ChatFailure]:
        """For each request in order what `reply` would return, or the failure it would raise; a
        failure of all of them may be raised."""

    async def reply(self, request: ChatRequest) -> str:
        (raw,) = await self.replies([request])
        if isinstance(raw, ChatFailure):
            raise raw
        return raw
