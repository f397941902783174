"""`detail`: one question that asks for all there is, and a long description."""

from __future__ import annotations

from collections.abc import Callable

from isthmus import hookimpl
from isthmus.core.contracts import Recipe
from isthmus.core.scene import TaughtRecipe


class Detail(TaughtRecipe, name="detail"):
    """A description of the whole picture; the question is drawn from a list of paraphrases. The
    second kind of LLaVA's data (arXiv:2304.08485)."""

    class Config(Recipe.Config):
        """Settings of `detail`."""

    config: Config


@hookimpl
def register_recipes(register: Callable[[type], None]) -> None:
    register(Detail)
