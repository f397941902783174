"""How a chat model is asked: how many calls at once, how patiently, and for how much."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from isthmus.core.contracts import Config, Place


class AskConfig(Config):
    """Settings of asking. None of them changes what a model answers."""

    concurrency: int = Field(default=16, ge=1)
    """Calls at once at most. An overloaded server gets fewer, and more again as it recovers."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds that one call may take; batches of requests take as long as they take."""
    attempts: int = Field(default=6, ge=1)
    """Tries of one request before it is given up; being told to come later is none."""
    backoff: float = Field(default=1.0, gt=0)
    """Seconds before the second try; each further wait is twice as long, less a random part."""
    longest_backoff: float = Field(default=60.0, gt=0)
    """Seconds that a wait grows to; a server that asks for a longer one is given it."""
    patience: float = Field(default=900.0, gt=0)
    """Seconds without one reply after which everything stops."""
    max_cost: float | None = Field(default=None, gt=0)
    """US dollars that the journal's calls may cost together, earlier runs' among them."""
    max_tokens: int | None = Field(default=None, gt=0)
    """Tokens that the journal's calls may take together, of prompts and completions."""
    ask_refused: bool = False
    """Ask again what the server refused in an earlier run."""
    seed: int = Field(default=0, ge=0)
    """Of the random part of waits."""

    def check(self) -> Iterator[tuple[Place, str]]:
        if self.longest_backoff < self.backoff:
            yield ("longest_backoff",), f"must not be less than `backoff`, {self.backoff:g}"
