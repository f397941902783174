"""What a sample is: a conversation with images in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

Role = Literal["system", "user", "assistant"]

Picture = Path | bytes | Image.Image
"""Where a picture comes from: a file, the bytes of one, or one already open."""


@dataclass(frozen=True)
class ImageSlot:
    """The place of an image in a turn: `index` counts into `Sample.images`."""

    index: int


@dataclass(frozen=True)
class Turn:
    """One speaker's words, with images where they stand among them.

    `text` of an assistant's turn is learnt, of every other turn only read.
    """

    role: Role
    content: tuple[str | ImageSlot, ...]

    @property
    def text(self) -> str:
        """The words alone."""
        return "".join(piece for piece in self.content if isinstance(piece, str))

    @property
    def slots(self) -> tuple[ImageSlot, ...]:
        """The places of its images, in reading order."""
        return tuple(piece for piece in self.content if isinstance(piece, ImageSlot))


@dataclass(frozen=True)
class Sample:
    """One conversation. `origin` (`train.json, record 7`) is for messages.

    Every image has exactly one slot in the turns; sources check that, since a placeholder
    too many or too few would shift every visual token after it.
    """

    id: str
    turns: tuple[Turn, ...]
    images: tuple[Picture, ...] = ()
    origin: str = ""
    rejected: str | None = None
    """An answer that was liked less than the last one given, for objectives that learn from the
    two."""

    @property
    def slots(self) -> tuple[ImageSlot, ...]:
        """Every image slot, in reading order."""
        return tuple(slot for turn in self.turns for slot in turn.slots)
