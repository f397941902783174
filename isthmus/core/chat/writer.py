"""Writes to the journal from a thread of its own, many rows to a transaction.

Forcing bytes onto a disk takes milliseconds, during which other replies arrive: they go together
into the next transaction. Whoever put a row in waits until it is on the disk.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from queue import SimpleQueue

from isthmus.core.chat.call import Call, Refusal
from isthmus.core.chat.journal import Journal

Rows = Sequence[Call | Refusal]
Entry = tuple[Rows, "asyncio.Future[None]"]


class Writer:
    """Takes rows from one event loop, from its making there to `close`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._entries: SimpleQueue[Entry | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    async def put(self, rows: Rows) -> None:
        """Returns when they are on the disk. Raises WorkError where it does not take them."""
        written = self._loop.create_future()
        self._entries.put((rows, written))
        await written

    async def close(self) -> None:
        """Write what is left."""
        self._entries.put(None)
        await asyncio.to_thread(self._thread.join)

    def _write(self) -> None:
        more = True
        while more:
            batch = [self._entries.get()]
            while not self._entries.empty():
                batch.append(self._entries.get())
            more = None not in batch
            entries = [entry for entry in batch if entry is not None]
            error: Exception | None = None
            try:
                self._journal.write([row for rows, _ in entries for row in rows])
            except Exception as found:
                error = found
            self._loop.call_soon_threadsafe(_settle, entries, error)


def _settle(entries: Sequence[Entry], error: Exception | None) -> None:
    for _, written in entries:
        if written.done():
            continue
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)
