"""The two published sets: how many questions there are about each image, and what reviews and
answers to them look like."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from isthmus.core.contracts import Reply

CATEGORIES = ("conv", "detail", "complex")
WILD = "llava_bench_"
"""What In-the-Wild's reviews and rules put before their categories."""
COCO_IMAGES = (3,) * 30
WILD_IMAGES = (4, 4, 3, 3, 2, 3, 2, 2, 2, 2, 5, 2, 1, 1, 3, 2, 2, 2, 2, 2, 2, 3, 3, 3)
"""Questions of each image, in the order of their ids, which begin with 0."""


def labels_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The category that a row of any file names."""
    category = row.get("category")
    return (category.removeprefix(WILD),) if isinstance(category, str) else ()


def published(keys: Collection[str], replies: Sequence[Reply]) -> dict[int, int]:
    """The questions of the set that these reviews are of, with the number of their image; none
    where they are of neither. COCO asks about each image in the order of the categories."""
    named = [(reply.key, reply.fields.get("category")) for reply in replies]
    prefixed = any(str(category).startswith(WILD) for _, category in named)
    ordered = all(
        key.isdecimal() and category in (None, CATEGORIES[int(key) % 3]) for key, category in named
    )
    if prefixed or (not ordered and set(keys) == set(map(str, range(sum(WILD_IMAGES))))):
        return _numbered(WILD_IMAGES)
    return _numbered(COCO_IMAGES) if ordered else {}


def wild_image(key: str, images: int) -> int | None:
    """The number of the image that In-the-Wild's question is about, where a file describes as
    many images as it has; None elsewhere."""
    asked = _numbered(WILD_IMAGES)
    whole = images == len(WILD_IMAGES) and key.isdecimal()
    return asked.get(int(key)) if whole else None


def _numbered(images: Sequence[int]) -> dict[int, int]:
    """Question -> image, both counted from 0."""
    return dict(enumerate(chain(*map(repeat, range(len(images)), images))))
