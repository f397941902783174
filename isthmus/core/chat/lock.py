"""One process at a time writes a journal: two would ask, and pay for, the same requests.

The lock is the operating system's, which releases it however the process that holds it ends. The
file stays, and says who took it last.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from isthmus.errors import InputError

try:
    import fcntl as _locks

    _fcntl: Any = _locks
except ImportError:  # Windows has none
    _fcntl = None


class JournalLock:
    """Held from its making to `release`, unless the disk offers no locks. Raises InputError where
    another process holds it."""

    def __init__(self, journal: Path) -> None:
        self.file = journal.with_name(f"{journal.name}.lock")
        self.held: int | None = None
        if _fcntl is not None:
            self._take(journal)

    def _take(self, journal: Path) -> None:
        try:
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"{self.file}: cannot be written: {error.strerror}") from None
        try:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode(errors="replace").strip()
            os.close(descriptor)
            raise InputError(
                f"{journal}: another process writes this journal: {holder or 'unknown'}. Wait for "
                "its end, give another journal, or open it to read alone"
            ) from None
        except OSError:
            os.close(descriptor)
            return
        self.held = descriptor
        with suppress(OSError):  # a full disk: it can be locked, but not written to
            os.truncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def release(self) -> None:
        """Let another process have it."""
        if self.held is not None:
            os.close(self.held)
            self.held = None
