"""JSON as published files have it, read at once: questions, answers, reviews, annotations.

One object, a list of records, one record a line, or records of several lines one after another.
A key that stands twice in an object is an error, since in a table of answers by id it is a
duplicate.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isthmus.core.data.records import Record, mapping, reason
from isthmus.errors import DataError

SPACE = re.compile(r"[ \t\r\n]*")

Rows = list[tuple[Record, str]]
"""Records, each with where it stands: `answers.jsonl, line 7`."""


def read_json(file: Path) -> dict[str, Any] | Rows:
    """An object as it is; a list, or JSON lines, as rows. Raises DataError."""
    text = read_text(file)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"{file}: the file is empty")
    if len(lines) > 1 and _is_object(lines[0][1]):
        origins = ((line, f"{file}, line {number}") for number, line in lines)
        return [(mapping(_parsed(line, origin), origin), origin) for line, origin in origins]
    document: Any = _documents(text, str(file))
    if len(document) == 1:
        document = document[0]
    if isinstance(document, dict):
        return document
    if not isinstance(document, list):
        raise DataError(f"{file}: a JSON object, a list, or JSON lines; found {document!r:.60}")
    origins = ((record, f"{file}, record {number}") for number, record in enumerate(document, 1))
    return [(mapping(record, origin), origin) for record, origin in origins]


def read_rows(file: Path) -> Rows:
    """Records of a list or of JSON lines, at least one. Raises DataError."""
    found = read_json(file)
    rows = [(found, f"{file}, line 1")] if isinstance(found, dict) else found
    if not rows:
        raise DataError(f"{file}: no record in it")
    return rows


def read_object(file: Path) -> dict[str, Any]:
    """A file that is one JSON object. Raises DataError."""
    found = read_json(file)
    if not isinstance(found, dict):
        raise DataError(f"{file}: one JSON object {{...}} is needed; found a list of records")
    return found


def read_table(file: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Rows of a CSV file that has these columns. Raises DataError."""
    rows = list(table_rows(file))
    lacking = [column for column in columns if not rows or rows[0].get(column) is None]
    if lacking:
        raise DataError(f"{file}: no column {', '.join(lacking)}, or no row")
    return rows


def table_rows(file: Path) -> Iterator[dict[str, str]]:
    """Rows of a CSV file, one after another. Raises DataError."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            yield from csv.DictReader(stream)
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except UnicodeDecodeError:
        raise DataError(f"{file}: not UTF-8 text") from None
    except csv.Error as error:
        raise DataError(f"{file}: not CSV: {error}") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None


def read_text(file: Path) -> str:
    """The text of a file. Raises DataError."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text at byte {error.start}") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None


def one_file(place: Path, *patterns: str, what: str) -> Path:
    """`place`, if it is a file; in a folder, the one file of the first pattern that has any.

    Raises DataError, with `what` is looked for.
    """
    if place.is_file():
        return place
    if not place.is_dir():
        raise DataError(f"{place}: there is no such file or folder ({what})")
    for pattern in patterns:
        found = sorted(place.glob(pattern))
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise DataError(f"{place}: which file has {what}? Give one of {names}")
        if found:
            return found[0]
    raise DataError(f"{place}: no file {' or '.join(patterns)} in it ({what})")


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _documents(text: str, origin: str) -> list[Any]:
    """One document, or several, one after another."""
    decoder, found, at = json.JSONDecoder(object_pairs_hook=unique_object), [], 0
    with _readable(origin):
        while at < len(text):
            document, at = decoder.raw_decode(text, at + _space(text, at))
            found.append(document)
            at += _space(text, at)
    return found


def _space(text: str, at: int) -> int:
    """How many characters before the next document."""
    found = SPACE.match(text, at)
    return len(found[0]) if found else 0


def _parsed(text: str, origin: str) -> Any:
    with _readable(origin):
        return json.loads(text, object_pairs_hook=unique_object)


@contextmanager
def _readable(origin: str) -> Iterator[None]:
    """What cannot be read is a DataError that says where."""
    try:
        yield
    except _Twice as error:
        raise DataError(f"{origin}: the key {str(error)!r:.60} stands twice") from None
    except RecursionError:
        raise DataError(f"{origin}: nested too deeply") from None
    except ValueError as error:
        raise DataError(f"{origin}: not JSON ({reason(error)})") from None


class _Twice(ValueError):
    """A key that an object has twice."""


def unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, for `object_pairs_hook`. Raises ValueError for a key that stands twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(key)
            seen.add(key)
    return made
