"""`caption_pairs`: a caption as the answer to a short question. No teacher is asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from pydantic import Field

from isthmus import hookimpl
from isthmus.core.contracts import Config, Exchange, Place, Prompt, Recipe, Scene
from isthmus.core.scene import PromptFiles, balanced, noun_phrases, suspicions


class BalanceConfig(Config):
    """Which scenes are taken, by the noun phrases of their captions."""

    least: int = Field(default=3, ge=1)
    """Scenes that have a phrase, or it is passed over."""
    most: int = Field(default=100, ge=1)
    """Scenes that are drawn for a phrase at most; those of rarer ones come on top."""

    def check(self) -> Iterator[tuple[Place, str]]:
        if self.most < self.least:
            yield ("most",), f"must not be less than `least`, {self.least}"


class CaptionPairs(Recipe, name="caption_pairs"):
    """What LLaVA's first stage learns from (arXiv:2304.08485): a question for a brief description,
    drawn from a list, and one of the picture's captions as it was written."""

    class Config(Recipe.Config):
        """Settings of `caption_pairs`."""

        balance: BalanceConfig | None = None
        """Take a part of a large set in which concepts are in balance, as LLaVA did of CC3M; null
        takes all."""

    config: Config

    @cached_property
    def files(self) -> PromptFiles:
        """The questions."""
        return PromptFiles(Path(__file__).parent, self.config.prompts)

    @property
    def texts(self) -> Iterable[str]:
        return self.files.texts

    @property
    def needs_teacher(self) -> bool:
        return False

    def suits(self, scene: Scene) -> bool:
        return any(_fit(caption) for caption in scene.captions)

    def select(self, scenes: Iterable[Scene], seed: int) -> Sequence[int] | None:
        balance = self.config.balance
        if balance is None:
            return None
        return balanced(map(_phrases, scenes), balance.least, balance.most, seed)

    def prompt(self, scene: Scene, seed: int, *, structured: bool) -> Prompt | None:
        return None

    def read(self, reply: str, scene: Scene, seed: int) -> Sequence[Exchange]:
        rng = random.Random(seed)  # noqa: S311
        question = rng.choice(self.files.lines("questions.txt"))
        caption = rng.choice([caption for caption in scene.captions if _fit(caption)])
        return (Exchange(question, " ".join(caption.split())),)


def _phrases(scene: Scene) -> list[str]:
    return [phrase for text in scene.captions if _fit(text) for phrase in noun_phrases(text)]


def _fit(caption: str) -> bool:
    return bool(caption.strip()) and not suspicions(caption)


@hookimpl
def register_recipes(register: Callable[[type], None]) -> None:
    register(CaptionPairs)
