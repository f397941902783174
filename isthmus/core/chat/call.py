"""What the journal has rows of: calls, and requests that were refused."""

from __future__ import annotations

from dataclasses import dataclass

ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class Call:
    """One call for one request, and what came of it. `asked` names the model as it was asked,
    `model` as it called itself; `ending` is `answered` or the failure's class."""

    key: str
    request: str
    asked: str
    ending: str
    message: str = ""
    model: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float = 0.0
    unmetered_tokens: int = 0
    unmetered_cost: float = 0.0
    seconds: float = 0.0
    began: str = ""
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that the server will never answer, with its `words` as JSON."""

    key: str
    request: str
    reason: str
    words: str
