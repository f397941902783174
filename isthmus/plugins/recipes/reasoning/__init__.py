"""`reasoning`: a question that takes thought, and an answer that shows its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from isthmus import hookimpl
from isthmus.core.contracts import Exchange, Recipe, Scene
from isthmus.core.scene import TaughtRecipe
from isthmus.errors import Rejected


class Reasoning(TaughtRecipe, name="reasoning"):
    """One question beyond what meets the eye, answered step by step. The third kind of LLaVA's
    data (arXiv:2304.08485)."""

    class Config(Recipe.Config):
        """Settings of `reasoning`."""

    config: Config

    def read(self, reply: str, scene: Scene, seed: int) -> Sequence[Exchange]:
        found = super().read(reply, scene, seed)
        if len(found) != 1:
            raise Rejected("unparsable", f"one question was asked for; found {len(found)}")
        return found


@hookimpl
def register_recipes(register: Callable[[type], None]) -> None:
    register(Reasoning)
