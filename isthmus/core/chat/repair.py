"""What a crash or a failing disk did to a journal, and how what is left is saved.

A write that was cut off stands at the end of SQLite's write-ahead log, and SQLite drops it when it
opens the file; here it is only noticed, so that it can be said. A file that is damaged itself is
set aside, and every row that can still be read goes into a new one.
"""

from __future__ import annotations

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
    was done, for people. Raises DataError where nothing can be read."""
    aside = _aside(path)
    for ending in ("", "-wal", "-shm"):
        old = path.with_name(f"{path.name}{ending}")
        if old.exists():
            old.replace(aside.with_name(f"{aside.name}{ending}"))
    with closing(connect(aside)) as damaged, closing(begin(connect(path), path)) as new:
        new.execute("BEGIN")
        kept = spoilt = 0
        for row in _rows(damaged):
            if crc(row[1], row[7]) != row[16]:
                spoilt += 1
                continue
            new.execute(ADD_CALL, row[1:])
            kept += 1
        refused = list(_until_damage(damaged, "SELECT * FROM refused"))
        new.executemany(ADD_REFUSED, refused)
        new.execute("COMMIT")
    if not kept + len(refused):
        path.unlink()
        for ending in ("", "-wal", "-shm"):
            moved = aside.with_name(f"{aside.name}{ending}")
            if moved.exists():
                moved.replace(path.with_name(f"{path.name}{ending}"))
        raise DataError(
            f"{path}: the journal is damaged ({fault}), and not one call in it can be read. Put a "
            "copy in its place, or move it away to begin anew"
        )
    lost = f", {spoilt:,} had changed and were left out" if spoilt else ""
    return (
        f"{path}: was damaged ({fault}); {kept:,} calls were read and kept{lost}. What is missing "
        f"will be asked again. The damaged file is {aside}"
    )


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
