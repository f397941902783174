"""Pictures small enough to be inside a report."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from io import BytesIO
from pathlib import Path

from PIL import Image

from isthmus.core.contracts import Benchmark, Question
from isthmus.core.data.images import open_picture
from isthmus.core.data.paths import inside
from isthmus.errors import DataError

SIDE = 224
"""The longer side of a thumbnail, in pixels: sharp on a card, a few kilobytes."""
QUALITY = 60
TINY = 64
"""A picture this small is kept as it is, to the pixel."""


class Thumbnails:
    """The pictures of several benchmarks, each once, by number."""

    def __init__(self) -> None:
        self.numbers: dict[Path, int] = {}

    def number(self, benchmark: Benchmark, question: Question) -> list[int | None]:
        """The numbers of a question's pictures; None for one that its folder does not have."""
        return [self._number(benchmark, name) for name in question.images]

    def _number(self, benchmark: Benchmark, name: str) -> int | None:
        if benchmark.image_folder is None:
            return None
        root = benchmark.image_folder.resolve()
        try:
            file = inside(root, name, "report")
        except DataError:
            return None
        return self.numbers.setdefault(file, len(self.numbers)) if file.is_file() else None

    @cached_property
    def drawn(self) -> list[str]:
        """Every picture as a data URI; empty for one that cannot be read."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(thumbnail, self.numbers))


def thumbnail(file: Path) -> str:
    """A picture as a data URI of an image; empty where it cannot be read."""
    try:
        picture = open_picture(file)
    except DataError:
        return ""
    buffer = BytesIO()
    if max(picture.size) <= TINY:
        picture.save(buffer, "PNG", optimize=True)
        return _uri("png", buffer)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    picture.save(buffer, "WEBP", quality=QUALITY, method=2)
    return _uri("webp", buffer)


def _uri(kind: str, buffer: BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def chunks(uris: Sequence[str], size: int) -> list[list[str]]:
    """In order, so many at once: a browser reads those that it shows."""
    return [list(uris[first : first + size]) for first in range(0, len(uris), size)]
