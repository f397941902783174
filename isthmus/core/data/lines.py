"""Records of a JSONL file one after another, as they are needed: the file is never read ahead."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from itertools import islice
from pathlib import Path

from isthmus.core.data.records import Record, mapping, reason
from isthmus.errors import DataError

HEAD = 1 << 20
"""Bytes of the file that its fingerprint is taken of, beside its size."""


class Lines:
    """The records of `file`, one JSON object per line, plain or gzip (`.gz`); of them the
    first `limit`."""

    def __init__(self, file: Path, limit: int | None) -> None:
        self.file = file
        self.limit = limit
        try:
            with file.open("rb") as stream:
                head = stream.read(HEAD)
            size = file.stat().st_size
        except OSError as error:
            raise self._unreadable(error) from None
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            raise DataError(
                f"{file}: a JSON list cannot be read line by line; write one record per line, or "
                "leave out `stream`"
            )
        self.fingerprint = hashlib.sha256(head + f"|{size}|{limit}".encode()).hexdigest()

    def read(self, skip: int = 0) -> Iterator[tuple[Record, str]]:
        """Records with their origins, but for the first `skip`, of which nothing is parsed.

        Raises DataError for a line that is no record, and where there is no record at all.
        """
        found = False
        for number, line in islice(self._lines(), skip, self.limit):
            found, origin = True, f"{self.file}, line {number}"
            try:
                record = json.loads(line)
            except ValueError as error:
                raise DataError(
                    f"{origin}: not JSON ({reason(error)}); write one record per line"
                ) from None
            yield mapping(record, origin), origin
        if not (found or skip):
            raise DataError(f"{self.file}: no record in it")

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """(line number, line) of those that are not empty."""
        try:
            with self._open() as stream:
                for number, line in enumerate(stream, start=1):
                    text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                    if text.strip():
                        yield number, text
        except (OSError, EOFError, zlib.error) as error:
            raise self._unreadable(error) from None

    def _open(self) -> BufferedIOBase:
        return gzip.open(self.file, "rb") if self.file.suffix == ".gz" else self.file.open("rb")

    def _unreadable(self, error: Exception) -> DataError:
        if isinstance(error, FileNotFoundError):
            return DataError(f"{self.file}: there is no such file")
        return DataError(f"{self.file}: cannot be read ({error})")
