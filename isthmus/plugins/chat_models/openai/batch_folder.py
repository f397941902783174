"""What is known of batches that were submitted: one small file for each, so that a run which was
killed finds them again.

A file is written before its batch is submitted, without an id, and again with it: a batch whose
file has none was submitted or was not, and the server is asked which.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import InputError, WorkError


@dataclass(slots=True)
class Batch:
    """One batch. `mark` is its name here and in the server's metadata; `members` are the custom
    ids in it; `over`, its output is in the folder."""

    mark: str
    members: tuple[str, ...]
    id: str | None = None
    over: bool = False


class BatchFolder:
    """Every batch of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.batches = [self._read(file) for file in sorted(folder.glob("*.json"))]
        except OSError as error:
            raise InputError(f"folder: {folder} cannot be used: {error.strerror}") from None

    def begin(self, members: Sequence[str]) -> Batch:
        """A new batch, about to be submitted."""
        batch = Batch(uuid.uuid4().hex, tuple(members))
        self.keep(batch)
        self.batches.append(batch)
        return batch

    def keep(self, batch: Batch) -> None:
        """Write down what is known of it."""
        said = {"id": batch.id, "over": batch.over, "members": batch.members}
        self._write(self.folder / f"{batch.mark}.json", [json.dumps(said)])

    def forget(self, batch: Batch) -> None:
        """It was never submitted."""
        self.batches.remove(batch)
        (self.folder / f"{batch.mark}.json").unlink(missing_ok=True)

    def input(self, batch_lines: Iterable[bytes], name: str) -> Path:
        """A file of these lines, to be uploaded."""
        file = self.folder / f"{name}.input.jsonl"
        with file.open("wb") as out:
            out.writelines(batch_lines)
        return file

    def finish(self, batch: Batch, outputs: Iterable[str]) -> None:
        """Keep what came out of it; then it is over."""
        self._write(self._output(batch), outputs)
        batch.over = True
        self.keep(batch)

    def lines(self, batch: Batch) -> Iterator[tuple[str, str]]:
        """(custom id, line) of what came out of it, the first of each id."""
        seen: set[str] = set()
        with self._output(batch).open(encoding="utf-8") as file:
            for line in file:
                try:
                    name = json.loads(line)["custom_id"]
                except (ValueError, TypeError, KeyError):
                    continue
                if isinstance(name, str) and name not in seen:
                    seen.add(name)
                    yield name, line.rstrip("\n")

    def _output(self, batch: Batch) -> Path:
        return self.folder / f"{batch.mark}.output.jsonl"

    def _read(self, file: Path) -> Batch:
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            return Batch(file.stem, tuple(said["members"]), said["id"], said["over"])
        except (ValueError, TypeError, KeyError):
            raise InputError(
                f"folder: {file} is no batch's; give `folder` a folder of its own"
            ) from None

    def _write(self, file: Path, pieces: Iterable[str]) -> None:
        """All of it or nothing."""
        part = file.with_name(f"{file.name}.part")
        try:
            with part.open("w", encoding="utf-8") as out:
                out.writelines(pieces)
                out.flush()
                os.fsync(out.fileno())
            part.replace(file)
        except OSError as error:
            raise WorkError(f"{file}: cannot be written: {error.strerror}") from None
