"""What calls cost, and the cap that they stop before.

A call is let through only if it fits under the cap at its worst: every byte of the prompt a token,
and the longest reply allowed, on top of all other calls under way at theirs. So the cap holds
whatever the replies turn out to be. A call that broke off may have been charged for and said
nothing of it: it is kept in the books at its worst, apart from what is known to the token.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from operator import attrgetter

from isthmus.core.chat.config import AskConfig
from isthmus.core.contracts import ChatModel, ChatRequest, Price
from isthmus.errors import InputError, OutOfBudget

IMAGE_TOKENS = 4096
"""What an image is reckoned at; endpoints publish no bound that could be proved."""
TURN_TOKENS = 16
"""Marks around a turn, with room to spare."""
TEMPLATE_TOKENS = 64
"""What a chat template says of its own accord."""


@dataclass(frozen=True, slots=True)
class Spend:
    """Tokens, calls and US dollars. `unmetered` are calls that may have cost something and did not
    say what; `unmetered_tokens` and `unmetered_cost` is what they can have cost at most."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    unmetered: int = 0
    unmetered_tokens: int = 0
    unmetered_cost: float = 0.0

    @property
    def tokens(self) -> int:
        """Of prompts and completions, known to the token."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Spend) -> Spend:
        return Spend(*(mine + its for mine, its in zip(_of(self), _of(other), strict=True)))

    def __sub__(self, other: Spend) -> Spend:
        return Spend(*(mine - its for mine, its in zip(_of(self), _of(other), strict=True)))


_of = attrgetter(*Spend.__slots__)


@dataclass(frozen=True, slots=True)
class Worst:
    """The most that a call can take."""

    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Worst) -> Worst:
        return Worst(self.tokens + other.tokens, self.cost + other.cost)

    def __sub__(self, other: Worst) -> Worst:
        return Worst(self.tokens - other.tokens, self.cost - other.cost)


def worst_of(request: ChatRequest, price: Price | None) -> Worst:
    """The most that one call for this request can take."""
    schema = request.parameters.json_schema
    said = [turn.text for turn in request.turns] + ([str(schema)] if schema else [])
    prompt = TEMPLATE_TOKENS + IMAGE_TOKENS * len(request.images)
    prompt += sum(len(text.encode("utf-8", "replace")) + TURN_TOKENS for text in said)
    completion = request.parameters.max_tokens or 0
    cost = price.cost(prompt, completion) if price else 0.0
    return Worst(prompt + completion, cost)


class Budget:
    """Reserves for calls before they are made. All of it happens in one event loop."""

    def __init__(self, config: AskConfig, model: ChatModel, before: Spend) -> None:
        """`before` is what the journal's calls have cost so far. Raises InputError for a cap on
        cost where the model has no price."""
        if config.max_cost is not None and model.config.price is None:
            raise InputError(
                f"max_cost: {config.max_cost:g} US dollars cannot be kept to, since chat model "
                f"{model.name!r} has no `price`; write price: {{prompt: ..., completion: ...}}, in "
                "US dollars for a million tokens"
            )
        self.max_cost, self.max_tokens = config.max_cost, config.max_tokens
        self.capped = self.max_cost is not None or self.max_tokens is not None
        self.spend = before
        self.reserved = Worst()
        self._settled = asyncio.Event()

    async def reserve(self, worst: Worst) -> None:
        """Wait until the call fits. Raises OutOfBudget where it never will."""
        while self.capped and not self._fits(worst):
            if self.reserved.tokens == 0:
                raise OutOfBudget(self._message())
            self._settled.clear()
            await self._settled.wait()
        self.reserved += worst

    def settle(self, worst: Worst, spent: Spend) -> None:
        """The call is over and has cost this."""
        self.reserved -= worst
        self.spend += spent
        self._settled.set()

    def _fits(self, worst: Worst) -> bool:
        spend = self.spend
        tokens = spend.tokens + spend.unmetered_tokens + self.reserved.tokens + worst.tokens
        cost = spend.cost + spend.unmetered_cost + self.reserved.cost + worst.cost
        return (self.max_tokens is None or tokens <= self.max_tokens) and (
            self.max_cost is None or cost <= self.max_cost
        )

    def _message(self) -> str:
        spend = self.spend
        capped = [
            f"{spend.tokens + spend.unmetered_tokens:,} of at most {self.max_tokens:,} tokens"
            if self.max_tokens is not None
            else "",
            f"{spend.cost + spend.unmetered_cost:.4f} of at most {self.max_cost:.4f} US dollars"
            if self.max_cost is not None
            else "",
        ]
        return (
            f"budget: {' and '.join(filter(None, capped))} are spent, and the next call could "
            "exceed that. Every reply so far is kept: raise max_tokens or max_cost to go on"
        )


def check_capped(request: ChatRequest) -> None:
    """Raise InputError where a request has no longest reply, so that no cap can be kept to."""
    if request.parameters.max_tokens is None:
        raise InputError(
            f"request {request.id}: a cap on cost or tokens needs `max_tokens` in its parameters"
        )
