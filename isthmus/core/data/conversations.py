"""Conversations in a JSON or JSONL file: the source that formats are written on, its checks.

In any format a record may have `rejected`: an answer that was liked less than its last one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic import PositiveInt

from isthmus.core.contracts import DataPath, ImageSlot, Sample, Source, Turn
from isthmus.core.data.lines import Lines
from isthmus.core.data.paths import inside
from isthmus.core.data.records import Record, Records
from isthmus.errors import DataError

PLACEHOLDER = "<image>"
"""What stands for an image in the text of a record."""

Content = tuple[str | ImageSlot, ...]


class ConversationFile(Source):
    """Conversations from the records of one file. A format says what a record means.

    Every record is checked when the file is opened; whether its pictures are there is seen
    when they are read.
    """

    class Config(Source.Config):
        """Base of a conversation file's settings."""

        file: DataPath
        """JSONL, one record per line, or a JSON list of records."""
        stream: bool = False
        """Read a JSONL file, plain or `.gz`, line by line as training goes on, and index nothing;
        the stage is then counted in `steps` and has no other source."""
        images: DataPath | None = None
        """Folder that image paths are relative to, and cannot leave."""
        limit: PositiveInt | None = None
        """Use the first so many records only."""

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config
        if config.images is not None and not config.images.is_dir():
            also = "" if config.file.exists() else f"; {config.file}: there is no such file"
            raise DataError(f"images: there is no folder {config.images}{also}")
        self.root = config.images.resolve() if config.images is not None else None
        if config.stream:
            self.lines = Lines(config.file, config.limit)
            next(self.stream())
        else:
            self.records = Records(config.file, config.limit, self._checked)

    @abstractmethod
    def read(self, record: Record, origin: str) -> tuple[list[Turn], list[str]]:
        """The turns of a record, and the paths of the images that their slots count.

        `origin` begins every message. Raises DataError.
        """

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        return self._sample(index, self.records[index], self.records.origin(index))

    @property
    def streams(self) -> bool:
        return self.config.stream

    def stream(self, skip: int = 0) -> Iterator[Sample]:
        if not self.streams:
            return super().stream(skip)
        numbered = enumerate(self.lines.read(skip), start=skip)
        return (self._sample(index, record, origin) for index, (record, origin) in numbered)

    @property
    def fingerprint(self) -> str:
        return self.lines.fingerprint if self.streams else self.records.fingerprint

    def _sample(self, index: int, record: Record, origin: str) -> Sample:
        turns, names = self._checked(record, origin)
        images = tuple(inside(self.root, name, origin) for name in names if self.root)
        id = record.get("id")
        name = str(index if id is None else id)
        return Sample(name, turns, images, origin, record.get("rejected"))

    def _checked(self, record: Record, origin: str) -> tuple[tuple[Turn, ...], list[str]]:
        turns, names = self.read(record, origin)
        if record.get("rejected") is not None:
            checked_text(record["rejected"], origin, "rejected")
        if names and self.root is None:
            raise DataError(f"{origin}: it names an image; give `images`, the folder of them")
        return checked_turns(turns, len(names), origin), names


def checked_text(value: Any, origin: str, field: str) -> str:
    """`value` if it is text that can be written down. Raises DataError."""
    if not isinstance(value, str):
        raise DataError(f"{origin}: `{field}` is text; found {value!r:.60}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{origin}: `{field}` has half of a surrogate pair in it (\\ud800 to \\udfff), which "
            "is no character; write the character itself"
        ) from None
    return value


def place_images(text: str, slot: Callable[[], ImageSlot]) -> Content:
    """Text with an image slot, asked of `slot`, for every placeholder in it."""
    first, *rest = text.split(PLACEHOLDER)
    pieces: list[str | ImageSlot] = [first]
    for piece in rest:
        pieces += [slot(), piece]
    return tuple(piece for piece in pieces if piece != "")


def checked_turns(turns: Sequence[Turn], images: int, origin: str) -> tuple[Turn, ...]:
    """The turns, if they are a conversation to learn from. Raises DataError.

    A system turn first or nowhere; then user and assistant by turns, the assistant last;
    every image has its slot.
    """
    expected: tuple[str, ...] = ("system", "user")
    for number, turn in enumerate(turns, start=1):
        if turn.role not in expected:
            raise DataError(
                f"{origin}: turn {number} is the {turn.role}'s; expected {' or '.join(expected)}. "
                "A conversation is a system turn or none, then user and assistant by turns"
            )
        expected = ("assistant",) if turn.role == "user" else ("user",)
    if not any(turn.role == "assistant" for turn in turns):
        raise DataError(f"{origin}: no assistant turn, so nothing to learn; give it an answer")
    if turns[-1].role != "assistant":
        raise DataError(f"{origin}: the last turn has no answer; give it one, or drop the turn")
    slots = sum(isinstance(piece, ImageSlot) for turn in turns for piece in turn.content)
    if slots != images:
        raise DataError(
            f"{origin}: {images} image{'' if images == 1 else 's'}, but {slots} "
            f"{PLACEHOLDER} in what the user says; write one where each image stands"
        )
    return tuple(turns)
