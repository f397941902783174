"""One process at a time: two would write over each other's files, or pay for the same replies.

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

try:
    import fcntl as _locks

    _fcntl: Any = _locks
except ImportError:  # Windows has none
    _fcntl = None


class FileLock:
    """Holds a file from `take` to `release`, or to the end of the block. `taken` is what is said
    to whom it is refused, with `{holder}` where the one that has it is named."""

    def __init__(self, file: Path, taken: str) -> None:
        self.file = file
        self.taken = taken
        self.offered = _fcntl is not None
        """Whether there are locks at all, on this system and this disk; `take` finds out."""
        self.held: int | None = None
        """Descriptor of the file that is locked."""

    def take(self) -> None:
        """Hold the file, in a folder that is there. Raises InputError when another process does."""
        if self.held is not None or not self.offered:
            return
        try:
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"{self.file}: cannot be written: {error.strerror}") from error
        try:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode(errors="replace").strip()
            os.close(descriptor)
            raise InputError(self.taken.replace("{holder}", holder or "a process")) from None
        except OSError:
            os.close(descriptor)
            self.offered = False
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.release()


def folder_lock(out: Path) -> FileLock:
    """Of a folder that one run, or one evaluation, writes to."""
    return FileLock(
        out / ".lock",
        f"out: {out} is in use by another run: {{holder}}. Wait for its end, or give another "
        "folder with --out",
    )
