"""Messages as people write them, in the style of OpenAI and Hugging Face, into turns.

[{"role": "user", "content": [{"type": "image", "image": "cat.jpg"},
                              {"type": "text", "text": "What is this?"}]}]
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from isthmus.core.contracts import ImageSlot, Picture, Turn
from isthmus.core.data.images import open_picture
from isthmus.errors import DataError

Message = Mapping[str, Any]
"""`role`: system, user or assistant. `content`: text, or a list of text and image pieces."""

ROLES = ("system", "user", "assistant")
IMAGE_BREAK = "\n"
"""What parts an image from words behind it that bring no line break: LLaVA's data, and that of
every built-in source, has it so."""


@dataclass(frozen=True)
class Conversation:
    """Turns that end with the user's, and the pictures that their slots count."""

    turns: tuple[Turn, ...]
    pictures: tuple[Picture, ...]


def read_messages(messages: Sequence[Message], where: str = "messages") -> Conversation:
    """Check and translate; every picture is opened. Raises DataError or ImageError.

    What is typed in a text stays text, `<image>` and `</s>` too.
    """
    if isinstance(messages, str | Mapping) or not messages:
        raise DataError(
            f"{where}: a list of messages is needed, such as "
            '[{"role": "user", "content": "Hello"}]'
        )
    turns: list[Turn] = []
    pictures: list[Image.Image] = []
    for index, message in enumerate(messages):
        place = f"{where}[{index}]"
        _check(message, place)
        _follow(message["role"], turns, place)
        content = _content(message, pictures, place)
        turns.append(Turn(message["role"], content))
    if turns[-1].role != "user":
        raise DataError(
            f"{where}: the last message is the {turns[-1].role}'s; an answer follows the user's"
        )
    return Conversation(tuple(turns), tuple(pictures))


def _check(message: Any, place: str) -> None:
    if not isinstance(message, Mapping):
        raise DataError(f"{place}: a message has `role` and `content`; found {message!r:.80}")
    for key in ("role", "content"):
        if key not in message:
            raise DataError(f"{place}: `{key}` is missing")
    if strange := sorted(set(message) - {"role", "content"}):
        raise DataError(f"{place}: unknown key {strange[0]!r}. A message has `role` and `content`")
    if message["role"] not in ROLES:
        raise DataError(f"{place}.role: {message['role']!r:.80}; possible: {', '.join(ROLES)}")


def _follow(role: str, turns: Sequence[Turn], place: str) -> None:
    """System first or never, then user and assistant by turns."""
    before = turns[-1].role if turns else None
    allowed = {None: ("system", "user"), "user": ("assistant",)}.get(before, ("user",))
    if role not in allowed:
        after = f"after the {before}'s" if before else "at the beginning"
        raise DataError(
            f"{place}.role: {role!r} {after}; expected {' or '.join(map(repr, allowed))}"
        )


def _content(
    message: Message, pictures: list[Image.Image], place: str
) -> tuple[str | ImageSlot, ...]:
    content = message["content"]
    if isinstance(content, str):
        return (content,)
    if not isinstance(content, Sequence) or not content:
        raise DataError(
            f"{place}.content: text is needed, or a list of text and images; found {content!r:.80}"
        )
    pieces: list[str | ImageSlot] = []
    for index, piece in enumerate(content):
        here = f"{place}.content[{index}]"
        kind = piece.get("type") if isinstance(piece, Mapping) else None
        if kind == "text" and isinstance(piece.get("text"), str):
            behind = bool(pieces) and isinstance(pieces[-1], ImageSlot)
            if behind and not piece["text"].startswith(IMAGE_BREAK):
                pieces.append(IMAGE_BREAK)
            pieces.append(piece["text"])
        elif kind == "image" and "image" in piece:
            if message["role"] != "user":
                raise DataError(f"{here}: only a user shows images, not the {message['role']}")
            pieces.append(ImageSlot(len(pictures)))
            pictures.append(_picture(piece["image"], here))
        else:
            raise DataError(
                f'{here}: write {{"type": "text", "text": ...}} or '
                f'{{"type": "image", "image": file}}; found {piece!r:.80}'
            )
    return tuple(pieces)


def _picture(value: Any, place: str) -> Image.Image:
    if isinstance(value, str):
        value = Path(os.path.expanduser(value))
    if not isinstance(value, Picture):
        raise DataError(
            f"{place}.image: a file's path, its bytes or a PIL image is needed; "
            f"found a {type(value).__name__}"
        )
    return open_picture(value, place)
