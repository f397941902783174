"""The file that a journal is: its tables, and how it is opened to write or to read alone."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.errors import InputError

APPLICATION = 0x69737468
"""SQLite's application id of a journal: `isth`."""
VERSION = 1

# `raw` comes last: what is in front of a long value is read without reading through it.
SCHEMA = """
CREATE TABLE calls (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, request TEXT NOT NULL, asked TEXT NOT NULL,
    ending TEXT NOT NULL, message TEXT NOT NULL, model TEXT NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER, cost REAL NOT NULL,
    unmetered_tokens INTEGER NOT NULL, unmetered_cost REAL NOT NULL,
    seconds REAL NOT NULL, began TEXT NOT NULL, crc INTEGER NOT NULL, raw BLOB
);
CREATE INDEX calls_by_key ON calls (key);
CREATE TABLE refused (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, reason TEXT NOT NULL, words TEXT NOT NULL
);
"""
ADD_CALL = "INSERT INTO calls VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
ADD_REFUSED = "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?)"
ONE_MORE = ADD_CALL.replace("INSERT INTO calls VALUES", ",")
TOGETHER = 128
"""Calls to a statement: for each statement this thread has to wait for the interpreter's lock."""
HEAD = b"SQLite format 3\0"


def add_calls(database: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
    """Add these, each the values of a call from `key` on."""
    for first in range(0, len(rows), TOGETHER):
        some = rows[first : first + TOGETHER]
        values = [value for row in some for value in row]
        database.execute(ADD_CALL + ONE_MORE * (len(some) - 1), values)


def crc(key: str, raw: bytes | None) -> int:
    """Check sum of a reply and the key that it answers."""
    return zlib.crc32(raw or b"", zlib.crc32(key.encode()))


def connect(path: Path) -> sqlite3.Connection:
    """The file, whatever state it is in. Raises InputError for what is no SQLite database."""
    try:
        with path.open("rb") as file:
            head = file.read(len(HEAD))
    except FileNotFoundError:
        head = b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if head not in (b"", HEAD):
        raise InputError(f"{path}: is no journal but another file; give another path")
    try:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    except sqlite3.Error as error:
        raise InputError(f"{path}: cannot be opened: {error}") from None


def begin(database: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """The database ready to be written to, with its tables made where it is new."""
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA fullfsync = ON")  # what FULL means on macOS
        if database.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
            database.executescript(
                f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION};"
                f"PRAGMA user_version = {VERSION}; COMMIT;"
            )
        check_version(database, path)
    except sqlite3.Error as error:
        database.close()
        raise InputError(f"{path}: cannot be written: {error}") from None
    except InputError:
        database.close()
        raise
    return database


def open_reader(path: Path) -> sqlite3.Connection:
    """The journal to read alone; nothing is written beside it where the folder takes nothing."""
    if not path.is_file():
        raise InputError(f"{path}: there is no journal")
    connect(path).close()
    error: Exception = InputError(f"{path}: is no journal")
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        try:
            database = sqlite3.connect(
                f"{path.absolute().as_uri()}?{mode}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
            )
            check_version(database, path)
        except sqlite3.Error as found:
            error = found
            if path.with_name(f"{path.name}-wal").exists():
                break  # what stands in it would be passed over
        else:
            return database
    raise InputError(f"{path}: cannot be read: {error}") from None


def check_version(database: sqlite3.Connection, path: Path) -> None:
    """Raise InputError for another program's database, or a newer journal."""
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        raise InputError(f"{path}: is another program's database; give another path")
    if version != VERSION:
        raise InputError(
            f"{path}: is a journal of format {version}; this isthmus reads format {VERSION}"
        )
