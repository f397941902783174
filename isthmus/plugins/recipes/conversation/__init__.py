"""`conversation`: someone asks about what is to be seen, in several turns, and is answered."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from isthmus import hookimpl
from isthmus.core.contracts import Recipe
from isthmus.core.scene import TaughtRecipe


class Conversation(TaughtRecipe, name="conversation"):
    """Several questions with definite answers: what, how many, where, what is done, how things
    lie to each other. The first kind of LLaVA's data (arXiv:2304.08485)."""

    class Config(Recipe.Config):
        """Settings of `conversation`."""

        most: int = Field(default=12, ge=1)
        """Questions at most; a reply with more is rejected."""

    config: Config

    @property
    def most(self) -> int:  # type: ignore[override]
        return self.config.most


@hookimpl
def register_recipes(register: Callable[[type], None]) -> None:
    register(Conversation)
