"""`reasoning`: a question that takes thought, and an answer that shows its steps."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from isthmus import hookimpl
from isthmus.core.contracts import Recipe
from isthmus.core.scene import TaughtRecipe


class Reasoning(TaughtRecipe, name="reasoning"):
    """One question beyond what meets the eye, answered step by step. The third kind of LLaVA's
    data (arXiv:2304.08485)."""

    class Config(Recipe.Config):
        """Settings of `reasoning`."""

        most: int = Field(default=1, ge=1)
        """Questions at most, for prompts that ask for several; a reply with more is rejected."""

    config: Config

    @property
    def most(self) -> int:  # type: ignore[override]
        return self.config.most


@hookimpl
def register_recipes(register: Callable[[type], None]) -> None:
    register(Reasoning)
