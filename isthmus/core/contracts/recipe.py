"""A recipe: what a teacher is asked about a scene, and how its reply becomes a sample."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import Field

from isthmus.core.contracts.conversation import Turn
from isthmus.core.contracts.part import DataPath, Part, PartConfig
from isthmus.core.contracts.scene import Scene


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer; a sample is one or several."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the teacher is told: the system's turn, worked examples, and the scene. `json_schema`
    is that of the reply, for teachers that keep to one."""

    turns: tuple[Turn, ...]
    json_schema: dict[str, Any] | None = field(default=None, hash=False)


class Recipe(Part, ABC):
    """One kind of sample. The same scene and seed give the same prompt, and the same reply the
    same exchanges, whenever they are asked: replies are read again for nothing."""

    kind: ClassVar[str] = "recipe"

    class Config(PartConfig):
        """Base of a recipe's configuration."""

        weight: float = Field(default=1.0, gt=0)
        """How many samples it makes, beside the other recipes' weights."""
        prompts: DataPath | None = None
        """Folder whose files stand in for the recipe's own of the same name: system.txt, ..."""

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    @abstractmethod
    def texts(self) -> Iterable[str]:
        """All the words of its own that its samples depend on; their hash is in every sample."""

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with its name, settings or texts."""
        settings = self.config.model_dump(mode="json", exclude={"weight", "prompts"})
        said = "\x1f".join([self.name, str(settings), *self.texts])
        return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:16]

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher is asked at all; False where `prompt` is always None."""
        return True

    def suits(self, scene: Scene) -> bool:
        """Whether it can make a sample of this scene."""
        return bool(scene.captions or scene.instances)

    def select(self, scenes: Iterable[Scene], seed: int) -> Sequence[int] | None:
        """Numbers of the scenes that it makes samples of, ascending, where that depends on all of
        them; None for whichever `suits` takes. Scenes are read as they are asked for."""
        return None

    @abstractmethod
    def prompt(self, scene: Scene, seed: int, *, structured: bool) -> Prompt | None:
        """What the teacher is asked; None where the recipe needs none, and `read` gets "".

        `structured`, the teacher keeps to the prompt's JSON Schema; otherwise the words say how
        the reply is to be written.
        """

    @abstractmethod
    def read(self, reply: str, scene: Scene, seed: int) -> Sequence[Exchange]:
        """The exchanges of a reply. Raises Rejected for one that is not as it was asked for."""
