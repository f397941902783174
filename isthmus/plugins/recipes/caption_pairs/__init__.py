"""`caption_pairs`: a caption as the answer to a short question. No teacher is asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

from isthmus import hookimpl
from isthmus.core.contracts import Exchange, Prompt, Recipe, Scene
from isthmus.core.scene import PromptFiles, suspicions


class CaptionPairs(Recipe, name="caption_pairs"):
    """What LLaVA's first stage learns from (arXiv:2304.08485): a question for a brief description,
    drawn from a list, and one of the picture's captions as it was written."""

    class Config(Recipe.Config):
        """Settings of `caption_pairs`."""

    config: Config

    @cached_property
    def files(self) -> PromptFiles:
        """The questions."""
        return PromptFiles(Path(__file__).parent, self.config.prompts)

    @property
    def texts(self) -> Iterable[str]:
        return self.files.texts

    def suits(self, scene: Scene) -> bool:
        return any(_fit(caption) for caption in scene.captions)

    def prompt(self, scene: Scene, seed: int, *, structured: bool) -> Prompt | None:
        return None

    def read(self, reply: str, scene: Scene, seed: int) -> Sequence[Exchange]:
        rng = random.Random(seed)  # noqa: S311
        question = rng.choice(self.files.lines("questions.txt"))
        caption = rng.choice([caption for caption in scene.captions if _fit(caption)])
        return (Exchange(question, " ".join(caption.split())),)


def _fit(caption: str) -> bool:
    return bool(caption.strip()) and not suspicions(caption)


@hookimpl
def register_recipes(register: Callable[[type], None]) -> None:
    register(CaptionPairs)
