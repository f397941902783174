"""One run at a time in a folder: two would write over each other's checkpoints.

The lock is the operating system's, which releases it however the process that holds it ends. The
file stays, and says who took it last.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from isthmus.errors import InputError

LOCK = ".lock"

try:
    import fcntl as _locks

    _fcntl: Any = _locks
except ImportError:  # Windows has none
    _fcntl = None


class RunLock:
    """Holds the folder of a run from `take` to the end of the block; for the main process."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.offered = _fcntl is not None
        """Whether there are locks at all, on this system and this disk; `take` finds out."""
        self.held: int | None = None
        """Descriptor of the file that is locked."""

    def take(self) -> None:
        """Hold the folder, which is there. Raises InputError when another run does."""
        if self.held is not None or not self.offered:
            return
        file = self.out / LOCK
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"out: {file} cannot be written: {error.strerror}") from error
        try:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode(errors="replace").strip()
            os.close(descriptor)
            raise InputError(
                f"out: {self.out} is in use by another run: {holder or 'a process'}. Wait for its "
                "end, or give another folder with --out"
            ) from None
        except OSError:
            os.close(descriptor)
            self.offered = False
            return
        self.held = descriptor
        with suppress(OSError):  # a full disk: it can be locked, but not written to
            os.truncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self.held is not None:
            os.close(self.held)
            self.held = None
