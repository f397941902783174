"""The journal: every call of a chat model and what came back, word for word, in one SQLite file.

A reply is on the disk before anything is made of it, so what is derived from replies can be
derived again for nothing: better, or after a crash. Rows are only ever added. Write-ahead log,
`synchronous=FULL`: what `write` has returned from survives kill -9 and a power cut.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import Self

from isthmus.core.chat.budget import Spend
from isthmus.core.chat.call import ANSWERED, Call, Refusal
from isthmus.core.chat.journal_file import (
    ADD_REFUSED,
    add_calls,
    begin,
    connect,
    crc,
    open_reader,
)
from isthmus.core.chat.repair import dropped_tail, fault_of, salvage
from isthmus.core.lock import FileLock
from isthmus.errors import DataError, InputError, WorkError

_of_call, _of_refusal = attrgetter(*Call.__slots__[:-1]), attrgetter(*Refusal.__slots__)


class Journal:
    """Opens, or begins, the journal in a file. Use it as a context.

    For writing it is one process's; any number may read. `read_only`, nothing is asked: what is
    not in the journal stays unanswered. `notes` say what had to be repaired. Raises InputError for
    what is no journal or is in use, DataError for one that is damaged beyond repair.
    """

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self.read_only = read_only
        self.notes: list[str] = []
        self._lock: FileLock | None = None
        self._out: sqlite3.Connection | None = None
        if not read_only:
            self._open_to_write()
        try:
            self._database = open_reader(self.path)
        except BaseException:
            self._let_go()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
        self._let_go()

    def replies(self, key: str) -> Iterator[str]:
        """What came back for this key, word for word, the earliest first. A row that the disk has
        changed since is passed over."""
        with self._reading():
            rows = self._database.execute(
                "SELECT raw, crc FROM calls WHERE key = ? AND raw IS NOT NULL ORDER BY number",
                (key,),
            ).fetchall()
        for raw, written in rows:
            if crc(key, raw) == written:
                yield raw.decode("utf-8", "surrogatepass")

    def refusal(self, key: str) -> str | None:
        """Why the server refused this request, if it did."""
        with self._reading():
            row = self._database.execute("SELECT reason FROM refused WHERE key = ?", (key,))
            found = row.fetchone()
        return None if found is None else str(found[0])

    def refusals(self) -> Iterator[Refusal]:
        """Every request that was refused, with its words."""
        with self._reading():
            for row in self._database.execute("SELECT * FROM refused ORDER BY request, key"):
                yield Refusal(*row)

    def spend(self) -> Spend:
        """What all calls have cost."""
        with self._reading():
            row = self._database.execute(
                "SELECT count(*), total(prompt_tokens), total(completion_tokens), total(cost),"
                " total(unmetered_tokens > 0), total(unmetered_tokens), total(unmetered_cost)"
                " FROM calls"
            ).fetchone()
        calls, prompt, completion, cost, unmetered, tokens, most = row
        return Spend(calls, int(prompt), int(completion), cost, int(unmetered), int(tokens), most)

    def endings(self) -> dict[str, int]:
        """How often calls ended how: `answered`, or the failure's class."""
        with self._reading():
            query = "SELECT ending, count(*) FROM calls GROUP BY ending ORDER BY ending"
            return dict(self._database.execute(query).fetchall())

    def models(self) -> dict[tuple[str, str], int]:
        """(as it was asked, as it called itself) -> answers: a model that was changed under its
        name shows here."""
        with self._reading():
            rows = self._database.execute(
                "SELECT asked, model, count(*) FROM calls WHERE ending = ?"
                " GROUP BY asked, model ORDER BY asked, model",
                (ANSWERED,),
            ).fetchall()
        return {(asked, model): count for asked, model, count in rows}

    def calls(self) -> Iterator[Call]:
        """Every call, in the order in which they were written; a row that the disk has changed
        since is passed over."""
        columns = ", ".join(Call.__slots__)
        with self._reading():
            query = f"SELECT {columns}, crc FROM calls ORDER BY number"  # noqa: S608
            for *values, written in self._database.execute(query):
                call = Call(*values)
                if crc(call.key, call.raw) == written:
                    yield call

    def write(self, rows: Sequence[Call | Refusal]) -> None:
        """Add these in one transaction; they are on the disk when it returns. Raises WorkError
        where the disk does not take them."""
        if self._out is None:
            raise WorkError(f"{self.path}: the journal is open to be read alone")
        calls = [
            (*_of_call(row), crc(row.key, row.raw), row.raw)
            for row in rows
            if isinstance(row, Call)
        ]
        refused = [_of_refusal(row) for row in rows if isinstance(row, Refusal)]
        try:
            self._out.execute("BEGIN IMMEDIATE")
            add_calls(self._out, calls)
            self._out.executemany(ADD_REFUSED, refused)
            self._out.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._out.execute("ROLLBACK")
            raise WorkError(f"{self.path}: cannot be written: {error}") from None

    def _open_to_write(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from None
        self._lock = FileLock(
            self.path.with_name(f"{self.path.name}.lock"),
            f"{self.path}: another process writes this journal: {{holder}}. Wait for its end, give "
            "another journal, or open it to read alone",
        )
        self._lock.take()
        try:
            self._out = begin(self._repaired(), self.path)
        except BaseException:
            self._let_go()
            raise

    def _repaired(self) -> sqlite3.Connection:
        if lost := dropped_tail(self.path.with_name(f"{self.path.name}-wal")):
            self.notes.append(
                f"{self.path}: the last write was cut off; its {lost:,} bytes were dropped, and "
                "what they would have answered is asked again"
            )
        database = connect(self.path)
        if fault := fault_of(database):
            database.close()
            self.notes.append(salvage(self.path, fault))
            database = connect(self.path)
        return database

    def _let_go(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{self.path}: cannot be read: {error}. Opening it to write repairs what can be "
                "repaired"
            ) from None
