"""`messages`: conversations as Hugging Face datasets have them, JSONL or JSON.

{"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]},
              {"role": "assistant", "content": "A cat."}], "images": ["7.jpg"]}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isthmus import hookimpl
from isthmus.core.contracts import ImageSlot, Turn
from isthmus.core.data.conversations import (
    Content,
    ConversationFile,
    checked_text,
    place_images,
)
from isthmus.core.data.paths import check_name
from isthmus.core.data.records import Record, checked_list, image_names
from isthmus.errors import DataError

ROLES = ("system", "user", "assistant")
BREAK = "\n"
"""What parts an image from the words behind it, as in LLaVA's data."""


class Messages(ConversationFile, name="messages"):
    """Records with `messages`, whose `content` is text or a list of text and image pieces.

    An image piece names its file (`{"type": "image", "image": "7.jpg"}`), or stands for the
    next one of the record's `images`. So does `<image>` in a user's text, where the record
    has `images`.
    """

    def read(self, record: Record, origin: str) -> tuple[list[Turn], list[str]]:
        reader = _Reader(origin, image_names(record.get("images"), origin))
        said = checked_list(record.get("messages"), origin, "messages")
        turns = [reader.turn(message) for message in said]
        return turns, [*reader.names, *reader.waiting]


class _Reader:
    """Reads the messages of one record; `names` are the images that found their slots, in
    the slots' order, `waiting` those of the record's `images` that did not yet."""

    def __init__(self, origin: str, listed: list[str]) -> None:
        self.origin = origin
        self.names: list[str] = []
        self.waiting = listed
        self.has_list = bool(listed)

    def turn(self, message: Any) -> Turn:
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            raise DataError(
                f'{self.origin}: a message is {{"role": {" | ".join(ROLES)}, "content": ...}}; '
                f"found {message!r:.60}"
            )
        content = message.get("content")
        if isinstance(content, str):
            return Turn(role, self._text(content, placeholders=role == "user"))
        pieces: list[str | ImageSlot] = []
        for piece in checked_list(content, self.origin, "content"):
            if role != "user" and not _is_text(piece):
                raise DataError(f"{self.origin}: only a user's message holds images, not {role}'s")
            pieces += self._piece(piece)
        return Turn(role, _parted(pieces))

    def _piece(self, piece: Any) -> Content:
        if _is_text(piece):
            return self._text(piece.get("text"), placeholders=False)
        if not isinstance(piece, dict) or piece.get("type") != "image":
            raise DataError(
                f'{self.origin}: a piece is {{"type": "text", "text": ...}} or '
                f'{{"type": "image", "image": file}}; found {piece!r:.60}'
            )
        name = piece.get("image", piece.get("path"))
        return (self._slot(None if name is None else check_name(name, self.origin)),)

    def _text(self, value: Any, placeholders: bool) -> Content:
        text = checked_text(value, self.origin, "content")
        if not (placeholders and self.has_list):
            return (text,)
        return place_images(text, self._slot)

    def _slot(self, name: str | None = None) -> ImageSlot:
        if name is None:
            if not self.waiting:
                raise DataError(f"{self.origin}: more image places than `images`")
            name = self.waiting.pop(0)
        self.names.append(name)
        return ImageSlot(len(self.names) - 1)


def _is_text(piece: Any) -> bool:
    return isinstance(piece, dict) and piece.get("type") == "text"


def _parted(pieces: list[str | ImageSlot]) -> Content:
    """The pieces, with a line break between an image and words that bring none."""
    parted: list[str | ImageSlot] = []
    for piece in pieces:
        behind = bool(parted) and isinstance(parted[-1], ImageSlot)
        if behind and isinstance(piece, str) and not piece.startswith(BREAK):
            parted.append(BREAK)
        parted.append(piece)
    return tuple(parted)


@hookimpl
def register_sources(register: Callable[[type], None]) -> None:
    register(Messages)
