"""Records of a JSON or JSONL file by number, without holding the file in memory.

Opening reads the file once, checks every record, and remembers where each begins; a record
is read again when it is asked for. So a source of a million records is small to keep and to
send to data workers.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from isthmus.core.data.paths import check_name
from isthmus.errors import DataError

Record = dict[str, Any]
Span = tuple[int, int]

HEAD = 1 << 16
"""Bytes in which a list's bracket is looked for."""
_MARK = b"\xef\xbb\xbf"
_SPACE = re.compile(r"[ \t\r\n]*")


class Records:
    """The records of `file`, a JSON list or one JSON object per line.

    `check` gets every record and its origin when the file is opened, and raises DataError
    for a wrong one. `limit` leaves out all but the first so many.
    """

    def __init__(
        self, file: Path, limit: int | None, check: Callable[[Record, str], object]
    ) -> None:
        self.file = file
        self.numbers, self.begins, self.lengths = array("Q"), array("Q"), array("Q")
        with _opened(file) as stream:
            digest = hashlib.file_digest(stream, "sha256")
            digest.update(f"|{limit}".encode())
            self.fingerprint = digest.hexdigest()
            stream.seek(0)
            self.is_list = stream.read(HEAD).lstrip(_MARK + b" \t\r\n").startswith(b"[")
            self.word = "record" if self.is_list else "line"
            stream.seek(0)
            parse = _list_records if self.is_list else _line_records
            for number, record, (begin, length) in parse(stream, file):
                if limit is not None and len(self.begins) >= limit:
                    break
                self.numbers.append(number)
                self.begins.append(begin)
                self.lengths.append(length)
                check(mapping(record, self._name(number)), self._name(number))
        if not self.begins:
            raise DataError(f"{file}: no record in it")

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, index: int) -> Record:
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.begins[index])
                record = json.loads(stream.read(self.lengths[index]))
        except (OSError, ValueError):
            raise DataError(f"{self.origin(index)}: the file changed or went away") from None
        return mapping(record, self.origin(index))

    def origin(self, index: int) -> str:
        """Where a record stands, for messages: `train.json, record 7`, counted from 1."""
        return self._name(self.numbers[index])

    def _name(self, number: int) -> str:
        return f"{self.file}, {self.word} {number}"


def _opened(file: Path) -> BufferedReader:
    try:
        return file.open("rb")
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None


def mapping(record: Any, origin: str) -> Record:
    """`record` if it is one. Raises DataError."""
    if not isinstance(record, dict):
        raise DataError(f"{origin}: a record is a JSON object {{...}}; found {record!r:.60}")
    return record


def _line_records(stream: BufferedReader, file: Path) -> Iterator[tuple[int, Any, Span]]:
    """(line number, record, (begin, length) in bytes) of JSONL; empty lines are passed over."""
    begin = 0
    for number, whole in enumerate(stream, start=1):
        mark = len(_MARK) if number == 1 and whole.startswith(_MARK) else 0
        line = whole.removesuffix(b"\n")[mark:]
        if line.strip():
            try:
                yield number, json.loads(line), (begin + mark, len(line))
            except ValueError as error:
                raise DataError(
                    f"{file}, line {number}: not JSON ({reason(error)}). Write one record per "
                    "line, or all of them in one list [...]"
                ) from None
        begin += len(whole)


def _list_records(stream: BufferedReader, file: Path) -> Iterator[tuple[int, Any, Span]]:
    """(number, record, (begin, length) in bytes) of a JSON list, which is read at once."""
    try:
        text = stream.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text at byte {error.start}") from None
    decoder = json.JSONDecoder()
    at = _after_space(text, text.index("[") + 1)
    counted, begin, number = 0, 0, 0
    while not text.startswith("]", at):
        number += 1
        try:
            record, end = decoder.raw_decode(text, at)
        except ValueError as error:
            raise DataError(f"{file}, record {number}: not JSON ({reason(error)})") from None
        # Characters before it, in bytes; counted on from the record before.
        begin, counted = begin + len(text[counted:at].encode()), at
        yield number, record, (begin, len(text[at:end].encode()))
        at = _after_space(text, end)
        if text.startswith(",", at):
            at = _after_space(text, at + 1)
        elif not text.startswith("]", at):
            raise DataError(f"{file}: after record {number} stands neither ',' nor ']'")


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def reason(error: ValueError) -> str:
    """Why text is no JSON."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return "a number with too many digits"


def checked_list(value: Any, origin: str, field: str) -> list[Any]:
    """`value` if it is a list with something in it. Raises DataError."""
    if not isinstance(value, list) or not value:
        raise DataError(f"{origin}: `{field}` is a list [...]; found {value!r:.60}")
    return value


def image_names(value: Any, origin: str) -> list[str]:
    """The image paths that a record names: one, a list, or none. Raises DataError."""
    if value is None or value == "":
        return []
    return [check_name(name, origin) for name in (value if isinstance(value, list) else [value])]
