"""Scenes by number, whatever file they are from, and what had to be put right in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence

from isthmus.core.contracts import Box, Scene
from isthmus.core.scene import COCO
from isthmus.errors import DataError

SLACK = 0.01
"""How far a box may reach over the picture's edge; annotators' boxes do, by a pixel."""


class Scenes(ABC):
    """The scenes of one annotation. `fixed` counts boxes that were dropped or cut."""

    def __init__(self) -> None:
        self.fixed: Counter[str] = Counter()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Scene: ...

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))


def vocabulary_of(categories: Sequence[str], given: tuple[str, ...] | None) -> tuple[str, ...]:
    """Categories that annotators looked for."""
    if given is not None:
        return given
    found = dict.fromkeys(categories)
    return COCO if found and found.keys() <= set(COCO) else tuple(sorted(found))


def box_of(numbers: Sequence[float], where: str, fixed: Counter[str]) -> Box | None:
    """Left, top, right, bottom in 0-1, to three decimals; None for a box of no size. Raises
    DataError for one that is not in the picture."""
    left, top, right, bottom = numbers
    if right < left or bottom < top:
        raise DataError(
            f"{where}: a box is left, top, right, bottom, each in 0-1; found {list(numbers)}. "
            "`scenes.boxes` says what else the four numbers may be"
        )
    if min(numbers) < -SLACK or max(numbers) > 1 + SLACK:
        raise DataError(
            f"{where}: the box {list(numbers)} is not in the picture, where all is in 0-1. For "
            "pixels, set scenes.boxes: pixels or pixels_width_height"
        )
    cut = [round(min(max(number, 0.0), 1.0), 3) for number in numbers]
    if min(numbers) < 0 or max(numbers) > 1:
        fixed["boxes cut at the edge"] += 1
    if cut[0] >= cut[2] or cut[1] >= cut[3]:
        fixed["boxes without size left out"] += 1
        return None
    return cut[0], cut[1], cut[2], cut[3]
