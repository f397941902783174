"""Features of a frozen encoder on disk, shared by processes and by runs.

A folder holds one folder for every encoder, and in it shards: safetensors files of key -> (tokens
dim). A process writes shards of its own, each whole under another name and then renamed, and never
touches one again; so any number of processes read and write at once without a lock. The index is
what the shards' headers say, found by listing. A file that is cut short is passed over, and what
was in it computed anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from isthmus.errors import InputError

SHARD, PART = ".safetensors", ".part"

SMALLEST, LARGEST = 2**20, 2**28
"""Bytes of a shard: the first is written soon, so that the next epoch finds it; later ones are a
quarter of what a process has written, so that shards stay few."""

QUIET = 2 * 10**9
"""Nanoseconds without a change after which a folder is not listed again until it changes."""

ABANDONED = 3600.0
"""Seconds after which a file that is only half written belongs to a process that is no more."""


class DiskFeatures:
    """The features kept in `folder` for one encoder, its `space`. At most `max_bytes` of files
    lie in the whole folder: then nothing is added, and all is still read.

    Picklable: a copy reads what is on disk. Raises InputError where the folder cannot be made.
    """

    def __init__(self, folder: Path, space: str, max_bytes: int) -> None:
        self.folder, self.space, self.max_bytes = folder, folder / space, max_bytes
        self.added = 0
        """Images that this process has added."""
        self.stopped = ""
        """Why nothing more is added; empty while it is."""
        self._index: dict[str, Any] = {}
        self._opened: set[str] = set()
        self._listed = 0
        self._waiting: dict[str, Tensor] = {}
        self._waiting_bytes = self._written = 0
        try:
            self.space.mkdir(parents=True, exist_ok=True)
            _tidy(self.space)
        except OSError as error:
            raise InputError(
                f"features.cache: {folder} cannot be written: {error.strerror}"
            ) from error
        self._check_room()

    def get(self, key: str) -> Tensor | None:
        """(tokens dim) of an image; None where they are not kept."""
        if key in self._waiting:
            return self._waiting[key]
        if key not in self._index:
            self._list()
        shard = self._index.get(key)
        if shard is None:
            return None
        # A view of the file's mapping would drag the whole shard along when it is sent.
        values: Tensor = shard.get_tensor(key).clone()
        return values

    def put(self, features: Mapping[str, Tensor]) -> None:
        """Keep what one call of the encoder gave: key -> (tokens dim). It is on disk after the
        next `flush`, which comes by itself when there is enough."""
        if self.stopped:
            return
        for key, values in features.items():
            if key not in self._waiting and key not in self._index:
                self._waiting[key] = values.detach().to("cpu", copy=True).contiguous()
                self._waiting_bytes += values.nbytes
        if self._waiting_bytes >= min(LARGEST, max(SMALLEST, self._written // 4)):
            self.flush()

    def flush(self) -> None:
        """Write what waits. A full disk ends the adding, not the run."""
        if not self._waiting:
            return
        path = self.space / (uuid4().hex + SHARD)
        part = path.with_suffix(PART)
        try:
            _write(part, save(self._waiting, metadata={"format": "pt"}))
            # Written first and measured then: of two processes at the limit, each sees the other.
            if self._check_room():
                part.replace(path)
                self.added += len(self._waiting)
                self._written += self._waiting_bytes
        except OSError as error:
            self.stopped = f"{self.folder} takes no more ({error.strerror}); it is only read"
        part.unlink(missing_ok=True)
        self._waiting, self._waiting_bytes = {}, 0
        self._list()

    def _check_room(self) -> bool:
        """Whether the files in the folder are within their limit; if not, adding ends."""
        if sum(_size(path) for path in self.folder.glob("*/*")) <= self.max_bytes:
            return True
        self.stopped = (
            f"{self.folder} is full ({self.max_bytes / 2**30:g} GiB, `max_gib`); it is only read. "
            "Raise the limit, or delete folders in it"
        )
        return False

    def _list(self) -> None:
        """Open the shards that have come since."""
        try:
            changed = os.stat(self.space).st_mtime_ns
            names = os.listdir(self.space) if changed != self._listed else []
        except OSError:  # deleted meanwhile: what is open stays readable
            return
        # Two changes may bear the same time: a folder is listed until it has been quiet.
        self._listed = changed if time.time_ns() - changed > QUIET else 0
        for name in names:
            if name.endswith(SHARD) and name not in self._opened:
                self._opened.add(name)
                try:
                    shard: Any = safe_open(self.space / name, framework="pt")
                except (SafetensorError, OSError):
                    continue
                for key in shard.keys():  # noqa: SIM118
                    self._index.setdefault(key, shard)

    def __getstate__(self) -> dict[str, Any]:
        own = {"_index": {}, "_opened": set(), "_listed": 0, "_waiting": {}, "_waiting_bytes": 0}
        return self.__dict__ | own


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # renamed or deleted by another process meanwhile
        return 0


def _tidy(space: Path) -> None:
    for path in space.glob("*" + PART):
        try:
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
        except OSError:  # another process was faster
            continue
