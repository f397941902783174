"""The manifest: every file of a checkpoint with its size and sha256, written last.

A folder without one is no checkpoint. It hashes itself too, so that no byte of a checkpoint
can change unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from isthmus.errors import CheckpointError

NAME = "manifest.json"
SCHEMA = 1


@dataclass(frozen=True)
class FileEntry:
    """A file's size in bytes, and its sha256."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class PartEntry:
    """Where a part's weights are.

    Copied into `file`; or, when `reference` names the hub id or folder that they came from,
    still there, with `sha256` over them (`weights_hash`), and `file` has what tuners added.
    Neither, when it has no weights. `tuners` are to be applied again before loading.
    """

    file: str | None = None
    reference: str | None = None
    sha256: str | None = None
    tuners: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint consists of.

    `tied` has, for a file of weights, alias -> name of tensors that are one.
    """

    isthmus: str
    files: dict[str, FileEntry]
    parts: dict[str, PartEntry]
    tied: dict[str, dict[str, str]]
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Canonical text: any other spelling of it counts as damage."""
        body = asdict(self)
        return _canonical({**body, "sha256": _digest(body)})

    @staticmethod
    def of(
        folder: Path, version: str, parts: dict[str, PartEntry], tied: dict[str, dict[str, str]]
    ) -> Manifest:
        """Read every file that is there, and write down what it is."""
        files = {
            path.relative_to(folder).as_posix(): entry_of(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        return Manifest(isthmus=version, files=files, parts=parts, tied=tied)

    @staticmethod
    def read(folder: Path) -> Manifest:
        """The manifest of `folder`, itself whole; the files are not looked at."""
        path = folder / NAME
        try:
            text = path.read_bytes().decode()
            body = json.loads(text)
            if isinstance(body["schema"], int) and body["schema"] > SCHEMA:
                raise CheckpointError(
                    f"{path}: written by a newer isthmus (layout {body['schema']}, this one reads "
                    f"up to {SCHEMA}); update isthmus"
                )
            if _canonical(body) != text or body.pop("sha256") != _digest(body):
                raise CheckpointError(f"{path}: damaged (its own hash differs)")
            body["files"] = {name: FileEntry(**entry) for name, entry in body["files"].items()}
            body["parts"] = {
                name: PartEntry(**{**entry, "tuners": tuple(entry["tuners"])})
                for name, entry in body["parts"].items()
            }
            return Manifest(**body)
        except FileNotFoundError:
            raise CheckpointError(f"{folder}: no checkpoint, {NAME} is missing") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{path}: damaged ({type(error).__name__}: {error})") from error


def verify(folder: Path, *, deep: bool = True) -> Manifest:
    """The manifest of a whole checkpoint; CheckpointError lists what is wrong with another.

    `deep` reads every byte; otherwise sizes alone are compared.
    """
    manifest = Manifest.read(folder)
    problems = []
    for name, entry in manifest.files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            problems.append(f"{name!r} is outside of the folder")
            continue
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != entry.bytes:
            problems.append(f"{name} has {path.stat().st_size} bytes instead of {entry.bytes}")
        elif deep and entry_of(path) != entry:
            problems.append(f"{name} has changed (its sha256 differs)")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(f"{folder}: damaged: {'; '.join(problems[:3])}{more}")
    return manifest


def entry_of(path: Path) -> FileEntry:
    """Size and hash of a file as it is on disk."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(bytes=path.stat().st_size, sha256=digest)


def _canonical(body: dict[str, Any]) -> str:
    return json.dumps(body, indent=2, sort_keys=True) + "\n"


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(body).encode()).hexdigest()
