"""The plan: which recipe is asked about which scene, how often, and with which seed.

It follows from the configuration and the scenes alone, in the scenes' order, so that every process
that makes it makes the same one. A shard of four has every fourth scene.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from isthmus.core.contracts import Brief, ChatModel, ChatRequest, Recipe, Scene
from isthmus.errors import InputError
from isthmus.synthesize.config import SynthesisConfig
from isthmus.synthesize.scenes import Scenes


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` of `of`, counted from 1."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`2/8`. Raises InputError."""
        number, slash, of = text.partition("/")
        if not slash or not number.isdigit() or not of.isdigit() or not 1 <= int(number) <= int(of):
            raise InputError(f"--shard: {text!r} is no part; write 1/4 for the first of four")
        return cls(int(number), int(of))

    @property
    def whole(self) -> bool:
        """Whether it is all there is."""
        return self.of == 1


@dataclass(frozen=True, slots=True)
class Job:
    """One sample to be made."""

    id: str
    scene: Scene
    recipe: Recipe
    seed: int
    draw: int

    def request(self, model: ChatModel, config: SynthesisConfig) -> ChatRequest | None:
        """What the teacher is asked; None where none is needed."""
        asked = self.recipe.prompt(self.scene, self.seed, structured=model.structured)
        if asked is None:
            return None
        parameters = config.parameters
        if asked.json_schema is not None and model.structured:
            parameters = parameters.model_copy(update={"json_schema": asked.json_schema})
        brief = Brief(self.recipe.name, self.scene, self.seed)
        return ChatRequest(self.id, asked.turns, (), parameters, self.draw, brief)


class Plan:
    """All jobs of a synthesis."""

    def __init__(self, config: SynthesisConfig, scenes: Scenes) -> None:
        self.config, self.scenes = config, scenes
        self.recipes: Sequence[Recipe] = [recipe.build() for recipe in config.recipes]

    @cached_property
    def pools(self) -> dict[str, Sequence[int]]:
        """Recipe -> numbers of the scenes that it may be asked about, ascending."""
        chosen = {
            recipe.name: recipe.select(self.scenes, self.config.seed) for recipe in self.recipes
        }
        every = range(len(self.scenes))
        return {name: every if some is None else some for name, some in chosen.items()}

    @cached_property
    def quotas(self) -> dict[str, int]:
        """Recipe -> how many samples are asked of it."""
        weights = {recipe.name: recipe.config.weight for recipe in self.recipes}
        if self.config.samples is None:
            most = max(weights.values())
            return {name: round(len(self.pools[name]) * w / most) for name, w in weights.items()}
        total = sum(weights.values())
        exact = {name: self.config.samples * w / total for name, w in weights.items()}
        made = {name: int(number) for name, number in exact.items()}
        by_rest = sorted(exact, key=lambda name: made[name] - exact[name])
        for name in by_rest[: self.config.samples - sum(made.values())]:
            made[name] += 1
        return made

    def jobs(self, shard: Shard | None = None) -> Iterator[Job]:
        """All of a shard, scene by scene. Scenes that do not suit a recipe have no job of it."""
        part = shard or Shard()
        rounds = {recipe.name: self._rounds(recipe.name) for recipe in self.recipes}
        pools = {name: _quick(pool) for name, pool in self.pools.items()}
        for index in range(part.number - 1, len(self.scenes), part.of):
            scene = self.scenes[index]
            for recipe in self.recipes:
                if index in pools[recipe.name] and recipe.suits(scene):
                    whole, chosen = rounds[recipe.name]
                    for draw in range(whole + (index in chosen)):
                        yield self._job(scene, recipe, draw)

    def count(self, shard: Shard | None = None) -> int:
        """How many replies that takes, at most: recipes may suit fewer scenes."""
        asking = [recipe.name for recipe in self.recipes if recipe.needs_teacher]
        return sum(self.quotas[name] for name in asking) // (shard.of if shard else 1)

    def _rounds(self, name: str) -> tuple[int, frozenset[int]]:
        """How often every scene is had, and which ones once more."""
        pool = self.pools[name]
        if not pool:
            return 0, frozenset()
        whole, rest = divmod(self.quotas[name], len(pool))
        rng = random.Random(f"{self.config.seed}/{name}")  # noqa: S311
        return whole, frozenset(rng.sample(pool, rest))

    def _job(self, scene: Scene, recipe: Recipe, draw: int) -> Job:
        id = f"{scene.id}/{recipe.name}" + (f"/{draw}" if draw else "")
        said = f"{self.config.seed}\x1f{recipe.name}\x1f{scene.id}\x1f{draw}"
        digest = hashlib.sha256(said.encode("utf-8", "surrogatepass")).digest()
        return Job(id, scene, recipe, int.from_bytes(digest[:4], "big"), draw)


def _quick(pool: Sequence[int]) -> Container[int]:
    """To ask whether a number is in it."""
    return pool if isinstance(pool, range) else frozenset(pool)
