"""Lists inside one JSON object, item by item: the file is read in pieces and never held.

A published annotation is one object with lists of hundred thousands of items, and takes several
times its size in memory when it is parsed at once.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

from isthmus.errors import DataError

PIECE = 1 << 20
LONGEST = 1 << 26
"""Bytes of a piece, and characters of one item at most."""
SPACE = " \t\r\n"
GOES_ON = ("", ".", "e", "E")
"""What may stand behind the beginning of a number."""


def listed(file: Path, names: Collection[str]) -> Iterator[tuple[str, Any]]:
    """(name, item) of these lists, in the file's order; reads no further than the last of them.

    Raises DataError for what is no such object, or lacks a list.
    """
    left = set(names)
    try:
        with file.open("rb") as stream:
            yield from _wanted(_Text(stream, file), left)
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    if left:
        raise DataError(f"{file}: no {' and no '.join(map(repr, sorted(left)))} in it")


def _wanted(text: _Text, left: set[str]) -> Iterator[tuple[str, Any]]:
    """Items of the lists that are left to be found."""
    if text.next() != "{":
        raise DataError(f"{text.file}: one JSON object {{...}} is needed; found another value")
    text.expect("{")
    more = text.next() != "}"
    while more and left:
        name = text.value()
        text.expect(":")
        if text.next() == "[":
            for item in _items(text):
                if name in left:
                    yield name, item
        elif name in left:
            raise DataError(f"{text.file}: {name!r} is a list; found {text.value()!r:.60}")
        else:
            text.value()
        left.discard(name)
        if more := text.next() == ",":
            text.expect(",")
    if left:
        text.expect("}")


def _items(text: _Text) -> Iterator[Any]:
    text.expect("[")
    more = text.next() != "]"
    while more:
        yield text.value()
        if more := text.next() == ",":
            text.expect(",")
    text.expect("]")


class _Text:
    """The text from where it was read to; of what lies before, nothing is kept."""

    def __init__(self, stream: IO[bytes], file: Path) -> None:
        self.stream, self.file = stream, file
        self.decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self.scan = json.JSONDecoder().raw_decode
        self.text, self.at, self.before, self.over = "", 0, 0, False

    def next(self) -> str:
        """The next character that is no space; it is not taken. Empty at the end."""
        while True:
            while self.at < len(self.text):
                if self.text[self.at] not in SPACE:
                    return self.text[self.at]
                self.at += 1
            if self.over:
                return ""
            self._more()

    def expect(self, mark: str) -> None:
        """Take this mark."""
        if self.next() != mark:
            raise self._wrong(f"{mark} expected")
        self.at += 1

    def value(self) -> Any:
        """Take one value."""
        self.next()
        while True:
            why, at = "too long", self.at
            try:
                value, end = self.scan(self.text, self.at)
            except json.JSONDecodeError as error:
                why, at = error.msg, error.pos
            except RecursionError:
                raise DataError(f"{self.file}: nested too deeply") from None
            else:
                if self.over or self.text[end : end + 1] not in GOES_ON:
                    self.at = end
                    return value
            if self.over or len(self.text) - self.at > LONGEST:
                raise self._wrong(why, at)
            self._more()

    def _more(self) -> None:
        """As much again as is there, so that a long value is not begun too often."""
        data = self.stream.read(max(PIECE, len(self.text) - self.at))
        self.over = not data
        try:
            more = self.decode(data, self.over)
        except UnicodeDecodeError:
            raise DataError(f"{self.file}: not UTF-8 text") from None
        self.before += self.at
        self.text, self.at = self.text[self.at :] + more, 0

    def _wrong(self, why: str, at: int | None = None) -> DataError:
        place = self.before + (self.at if at is None else at)
        return DataError(f"{self.file}: not JSON ({why} at character {place + 1:,})")
