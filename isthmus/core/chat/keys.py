"""The key under which a reply is kept: a hash of everything that determines it.

That is the model's identity, the words, the bytes of the images, the parameters and the draw, and
the brief where the model reads it; not the request's id, nor how often, how fast or with which key
it is asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus.core.contracts import ChatModel, ChatRequest, ImageSlot, Picture
from isthmus.core.data.images import read_picture

FORMAT = 1
"""Changes with what is hashed, or how."""


class Keys:
    """Makes the keys of requests to one model."""

    def __init__(self, model: ChatModel) -> None:
        self.identity = canonical(model.identity())
        self.with_brief = model.reads_brief

    def of(self, request: ChatRequest) -> str:
        """64 hexadecimal digits. Raises ImageError for an image that cannot be read."""
        said: list[Any] = [
            FORMAT,
            self.identity,
            written_turns(request),
            [_digest(image, request.id) for image in request.images],
            request.parameters.model_dump(mode="json", exclude_none=True),
            request.draw,
        ]
        if self.with_brief and request.brief is not None:
            said.append(request.brief.plain())
        return hashlib.sha256(canonical(said).encode()).hexdigest()


def written_turns(request: ChatRequest) -> list[list[Any]]:
    """The turns as plain values; an image is the number of its slot."""
    return [
        [
            turn.role,
            [piece.index if isinstance(piece, ImageSlot) else piece for piece in turn.content],
        ]
        for turn in request.turns
    ]


def canonical(value: Mapping[str, Any] | list[Any]) -> str:
    """One JSON for equal values, in ASCII: lone surrogates, too, have a way to be written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(image: Picture, origin: str) -> str:
    if isinstance(image, Path):
        image = read_picture(image, origin)
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    pixels = f"{image.mode} {image.size} ".encode() + image.tobytes()
    return hashlib.sha256(pixels).hexdigest()
