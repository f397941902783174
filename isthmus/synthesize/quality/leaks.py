"""The guard against learning a benchmark: its images, and its questions word for word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from isthmus.core.contracts import Exchange
from isthmus.core.data.rows import read_json, read_text
from isthmus.errors import Rejected

IMAGES = ("image", "image_id", "file_name")
QUESTIONS = ("question", "text", "prompt")
SHORTEST = 6
"""Words of a question from which it is told from what anybody asks of any picture."""
SPLIT = re.compile(r"^coco_(train|val|test)\d{4}_")


class Leaks:
    """Images and questions of the listed files. Raises DataError for a file that cannot be read."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.images: set[str] = set()
        self.questions: set[str] = set()
        for file in files:
            self._read(file)

    def check(self, image: str, exchanges: Sequence[Exchange]) -> None:
        """Raise Rejected for what a benchmark has."""
        if image and plain_image(image) in self.images:
            raise Rejected("leaked_image", f"{image} is an image of an evaluation")
        for each in exchanges:
            if plain_question(each.question) in self.questions:
                raise Rejected("leaked_question", f"of an evaluation: {each.question!r:.60}")

    def _read(self, file: Path) -> None:
        if file.suffix == ".txt":
            self.images |= {plain_image(line) for line in read_text(file).split("\n") if line}
            return
        found = read_json(file)
        for row in [found] if isinstance(found, dict) else [row for row, _ in found]:
            self._take(row)

    def _take(self, row: dict[str, Any]) -> None:
        for key in IMAGES:
            if isinstance(row.get(key), str | int):
                self.images.add(plain_image(str(row[key])))
        for key in QUESTIONS:
            said = row.get(key)
            if isinstance(said, str) and len(said.split()) >= SHORTEST:
                self.questions.add(plain_question(said))


def plain_image(name: str) -> str:
    """An image's name wherever it lies and however COCO's splits were named."""
    stem = SPLIT.sub("", PurePosixPath(name.strip().replace("\\", "/")).stem.lower())
    return stem.lstrip("0") or "0" if stem.isdigit() else stem


def plain_question(text: str) -> str:
    """A question without its case, marks and placeholder."""
    return " ".join(re.findall(r"\w+", text.lower().replace("<image>", " ")))
