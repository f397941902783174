"""Question files as LLaVA writes them: rows `{question_id, image, text}`, where `image` is one
path, a list of paths, or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.core.assistant.messages import IMAGE_BREAK, Conversation
from isthmus.core.contracts import ImageSlot, Picture, Sample, Turn
from isthmus.core.data.images import picture_size
from isthmus.core.data.paths import inside
from isthmus.core.data.question_file import IMAGE
from isthmus.errors import DataError

SHOWN = 10
"""Wrong rows that a message lists."""


@dataclass(frozen=True)
class Question:
    """One row; `images` are files below the images folder, `names` as the row has them. `shots`
    are examples with their answers, which stand before it. Of the `options`, a model that cannot
    speak chooses one."""

    id: str | int
    text: str
    images: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()
    shots: tuple[Sample, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The id as JSON: 1 and "1" are two questions."""
        return json.dumps(self.id)

    @property
    def number(self) -> int:
        """What its answer is drawn by: its own, wherever it stands in a file."""
        return int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:4], "big")

    def conversation(self) -> Conversation:
        """One turn of the user's, behind those of its `shots`, whose system turns are left out:
        images where the text says `<image>`, else before it."""
        slots = [ImageSlot(index) for index in range(len(self.images))]
        pieces = self.text.split(IMAGE) if slots else [self.text]
        content: list[str | ImageSlot] = []
        if len(pieces) == 1:
            content = [*slots, IMAGE_BREAK, self.text] if slots else [self.text]
        else:
            for piece, slot in zip(pieces[:-1], slots, strict=True):
                content += [piece, slot]
            content.append(pieces[-1])
        asks = Conversation((Turn("user", tuple(content)),), self.images)
        return _in_a_row([*self.shots, asks])


def _in_a_row(talks: Sequence[Sample | Conversation]) -> Conversation:
    """Conversations one behind the other, as one."""
    turns: list[Turn] = []
    pictures: list[Picture] = []
    for talk in talks:
        shown = talk.images if isinstance(talk, Sample) else talk.pictures
        for turn in talk.turns:
            if turn.role != "system":
                content = tuple(
                    ImageSlot(piece.index + len(pictures))
                    if isinstance(piece, ImageSlot)
                    else piece
                    for piece in turn.content
                )
                turns.append(Turn(turn.role, content))
        pictures += shown
    return Conversation(tuple(turns), tuple(pictures))


def read_questions(file: Path, images: Path) -> list[Question]:
    """Every question; raises DataError that lists the wrong rows by line.

    Images are looked for below `images`, and their headers are read.
    """
    questions: list[Question] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    root = images.resolve()
    for line, text in enumerate(_read(file).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            question = _question(row_of(text), root)
            if question.key in seen:
                raise DataError(f"question_id {question.key} is that of line {seen[question.key]}")
            seen[question.key] = line
        except DataError as error:
            problems.append(f"  line {line}: {error}")
        else:
            questions.append(question)
    if problems:
        more = [f"  and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise DataError("\n".join([f"{file}: wrong rows:", *problems[:SHOWN], *more]))
    if not questions:
        raise DataError(f"{file}: no question in it")
    return questions


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(f"{file}: cannot be read: {reason}") from error


def row_of(text: str | bytes) -> dict[str, Any]:
    """A line of JSON as a mapping; raises DataError."""
    try:
        row = json.loads(text)
    except ValueError as error:
        raise DataError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"a row is a mapping {{question_id, image, text}}; found {text!r:.60}")
    return row


def _question(row: Mapping[str, Any], root: Path) -> Question:
    id, text, named = row.get("question_id"), row.get("text"), row.get("image")
    if not isinstance(id, str | int) or isinstance(id, bool):
        raise DataError(f"question_id: a number or a string is needed; found {id!r:.60}")
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"text: the question's words are needed; found {text!r:.60}")
    names = named if isinstance(named, list) else [] if named in (None, "") else [named]
    paths = tuple(inside(root, name, "image") for name in names)
    for path in paths:
        picture_size(path)
    places = text.count(IMAGE)
    if paths and places not in (0, len(paths)):
        raise DataError(f"text: {places} times {IMAGE} for {len(paths)} images")
    return Question(id, text, paths, tuple(names))
