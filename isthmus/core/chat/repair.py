"""What a crash or a failing disk did to a journal, and how what is left is saved.

A write that was cut off stands at the end of SQLite's write-ahead log, and SQLite drops it when it
opens the file; here it is only noticed, so that it can be said. A file that is damaged itself is
set aside, and every row that can still be read goes into a new one.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from isthmus.core.chat.journal_file import ADD_CALL, ADD_REFUSED, begin, connect, crc
from isthmus.errors import DataError

WAL_HEADER, FRAME_HEADER = 32, 24
LARGEST_READ = 64 * 2**20
"""Bytes of a log that are looked through; one that is longer is not looked at."""


def dropped_tail(wal: Path) -> int:
    """Bytes that stand in a write-ahead log behind its last whole transaction, and were to be
    part of the next (file format: sqlite.org/fileformat2.html, section 4)."""
    try:
        if wal.stat().st_size > LARGEST_READ:
            return 0
        log = wal.read_bytes()
    except OSError:
        return 0
    if len(log) < WAL_HEADER:
        return len(log)
    magic, _, page, _, salts, sums = struct.unpack(">IIII8s8s", log[:WAL_HEADER])
    order = ">" if magic & 1 else "<"
    running = _checksum(log[: WAL_HEADER - 8], (0, 0), order)
    if magic & ~1 != 0x377F0682 or sums != struct.pack(">II", *running):
        return len(log)
    whole = at = WAL_HEADER
    while len(log) - at >= FRAME_HEADER + 8:
        commits, own, sums = struct.unpack(">4xI8s8s", log[at : at + FRAME_HEADER])
        if own != salts:
            break  # left over from before the log began anew
        frame = log[at : at + 8] + log[at + FRAME_HEADER : at + FRAME_HEADER + page]
        running = _checksum(frame, running, order) if len(frame) == 8 + page else (-1, -1)
        at = min(at + FRAME_HEADER + page, len(log))
        if running[0] < 0 or sums != struct.pack(">II", *running):
            break
        if commits:
            whole = at
    return at - whole


def _checksum(data: bytes, start: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def fault_of(database: sqlite3.Connection) -> str:
    """What is wrong with the file as SQLite sees it; nothing where it is whole."""
    try:
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if found == "ok" else " ".join(str(found).split())


def salvage(path: Path, fault: str) -> str:
    """Set a damaged journal aside and begin a new one with the rows that can be read; returns what
    was done, for people. Raises DataError where nothing can be read, and leaves it as it is."""
    aside, size = _aside(path), path.stat().st_size
    _move(path, aside)
    _lengthen(aside)
    place = f"{aside.absolute().as_uri()}?mode=ro"
    kept = spoilt = refused = 0
    with (
        closing(sqlite3.connect(place, uri=True)) as damaged,
        closing(begin(connect(path), path)) as new,
    ):
        new.execute("BEGIN")
        for row in _rows(damaged):
            taken = _is_sound(row) and _take(new, ADD_CALL, row[1:])
            kept, spoilt = kept + taken, spoilt + (not taken)
        for row in _until_damage(damaged, "SELECT * FROM refused"):
            refused += _take(new, ADD_REFUSED, row)
        new.execute("COMMIT")
    if not kept + refused:
        os.truncate(aside, size)
        _move(aside, path)
        raise DataError(
            f"{path}: the journal is damaged ({fault}), and not one call in it can be read. Put a "
            "copy in its place, or move it away to begin anew"
        )
    lost = f", {spoilt:,} had changed and were left out" if spoilt else ""
    return (
        f"{path}: was damaged ({fault}); {kept:,} calls were read and kept{lost}. What is missing "
        f"will be asked again. The damaged file is {aside}"
    )


def _move(file: Path, other: Path) -> None:
    """With the two that SQLite keeps beside it; what is in its place goes."""
    for ending in ("", "-wal", "-shm"):
        old, new = (place.with_name(f"{place.name}{ending}") for place in (file, other))
        if old.exists():
            old.replace(new)
        else:
            new.unlink(missing_ok=True)


def _take(new: sqlite3.Connection, query: str, row: tuple[Any, ...]) -> bool:
    """Add the row, if it is one that a journal may have."""
    try:
        new.execute(query, row)
    except sqlite3.Error:
        return False
    return True


def _is_sound(row: tuple[Any, ...]) -> bool:
    """Whether key and reply are those that were written."""
    key, written, raw = row[1], *row[14:16]
    if not isinstance(key, str) or not isinstance(raw, bytes | None):
        return False
    return crc(key, raw) == written


def _lengthen(file: Path) -> None:
    """With zeros to the size that its header gives (section 1.3 of the format): of a file that was
    cut short, SQLite reads nothing."""
    with file.open("r+b") as content:
        header = content.read(32)
        page, pages = struct.unpack(">16xH10xI", header.ljust(32, b"\0"))
        wanted = (65536 if page == 1 else page) * pages
        if file.stat().st_size < wanted <= 2**44:
            content.truncate(wanted)


def _rows(damaged: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """Calls from the first on as far as they can be read, then from the last back to there."""
    reached = 0
    for row in _until_damage(damaged, "SELECT * FROM calls NOT INDEXED ORDER BY number"):
        reached = row[0]
        yield row
    backwards = "SELECT * FROM calls NOT INDEXED WHERE number > ? ORDER BY number DESC"
    yield from reversed(list(_until_damage(damaged, backwards, reached)))


def _until_damage(
    damaged: sqlite3.Connection, query: str, *values: int
) -> Iterator[tuple[Any, ...]]:
    try:
        yield from damaged.execute(query, values)
    except sqlite3.DatabaseError:
        return


def _aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside
