"""A scene: what people wrote down about one picture, captions and boxes, whatever file it is from.

A teacher that sees no picture reads it instead. Nothing here opens the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in shares of the picture's width and height, to three decimals."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One box and what is in it; a `crowd` is a box around many of them that nobody counted."""

    category: str
    box: Box
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture's annotation. Captions are kept as they were written, whatever they say.

    `vocabulary` are the categories that the annotators looked for: one of them that has no box is
    not there. `size` is the picture's width and height in pixels, where the annotation says it.
    No instances mean that nobody drew boxes, not that nothing is there.
    """

    id: str
    image: str
    captions: tuple[str, ...] = ()
    instances: tuple[Instance, ...] = ()
    vocabulary: tuple[str, ...] = ()
    size: tuple[int, int] | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "id": self.id,
            "image": self.image,
            "captions": list(self.captions),
            "instances": [
                {"category": each.category, "bbox": list(each.box), "crowd": each.crowd}
                for each in self.instances
            ],
            "vocabulary": list(self.vocabulary),
        }


@dataclass(frozen=True, slots=True)
class Brief:
    """What a request asks for, as data: the recipe's name, the scene, and a seed of its own."""

    recipe: str
    scene: Scene
    seed: int

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"recipe": self.recipe, "scene": self.scene.plain(), "seed": self.seed}
