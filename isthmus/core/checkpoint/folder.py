"""Folders of checkpoints: how one comes into being, which is the newest, which may go.

A checkpoint is written into `.NAME.tmp-HEX`, forced to disk, and renamed; what has its final
name is whole. Leftovers of interrupted saves are never read, and the next save removes them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from isthmus.core.checkpoint import manifest
from isthmus.errors import CheckpointError

CHECKPOINTS = "checkpoints"
"""Where a run folder keeps them."""

_NAME = re.compile(r"(?P<aside>\.)?(?P<index>\d+)-(?P<stage>.+?)-(?P<step>\d+)(?(aside)\.old-\w+)$")
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<why>tmp|old)-[0-9a-f]+$")


@dataclass(frozen=True)
class Found:
    """The newest whole checkpoint, and one line for each newer one that is damaged."""

    folder: Path
    skipped: tuple[str, ...] = ()


def checkpoint_name(index: int, stage: str, step: int) -> str:
    """`02-instruct-000500`: the stage's number from 1, its name, its steps."""
    return f"{index + 1:02d}-{stage}-{step:06d}"


def find(folder: Path, *, deep: bool = True) -> Found:
    """The newest whole checkpoint of a run folder, or `folder` itself when it is one.

    Raises CheckpointError when there is none, saying what was looked at.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give a run's folder or a checkpoint's")
    if (folder / manifest.NAME).exists():
        manifest.verify(folder, deep=deep)
        return Found(folder)
    below = folder / CHECKPOINTS
    candidates = _newest_first(below if below.is_dir() else folder)
    skipped: list[str] = []
    for candidate in candidates:
        try:
            manifest.verify(candidate, deep=deep)
        except CheckpointError as error:
            skipped.append(str(error))
        else:
            return Found(candidate, tuple(skipped))
    if skipped:
        raise CheckpointError("\n  ".join([f"{folder}: no checkpoint in it is whole", *skipped]))
    raise CheckpointError(
        f"{folder}: no checkpoint in it; a run writes them to {below}, "
        f"and each holds a {manifest.NAME}"
    )


def latest(folder: Path) -> Path:
    """The newest whole checkpoint of a run folder; `find` also says what it skipped."""
    return find(folder).folder


@contextmanager
def publish(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder`, whole, when the block ends well.

    When it does not, nothing of it stays, and what `folder` was before is still there.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.tmp-{token_hex(4)}")
    try:
        temporary.mkdir()
        yield temporary
        _sync_tree(temporary)
        _put_in_place(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(folder.parent)


def tidy(parent: Path) -> None:
    """Remove what interrupted saves left; call it only while nobody else saves there."""
    for path in sorted(parent.iterdir()):
        match = _LEFTOVER.fullmatch(path.name)
        if not match:
            continue
        if match["why"] == "old" and not (parent / match["name"]).exists():
            path.rename(parent / match["name"])
        else:
            shutil.rmtree(path, ignore_errors=True)


def prune(parent: Path, keep: int, saved: Path | None = None) -> list[Path]:
    """Keep the newest `keep` of the newest stage, and the last of every other stage.

    Only whole ones count, by their sizes, and none newer than `saved`, the one just written:
    a run that writes behind others found them damaged. Returns what was removed.
    """
    kept: dict[str, int] = {}
    removed = []
    ranked = _newest_first(parent)
    for path in ranked[ranked.index(saved) :] if saved else ranked:
        match = _NAME.fullmatch(path.name)
        if match is None or match["aside"]:
            continue
        allowed = keep if not kept or next(iter(kept)) == match["index"] else 1
        if kept.get(match["index"], 0) >= allowed:
            _remove(path)
            removed.append(path)
            continue
        with suppress(CheckpointError):
            manifest.verify(path, deep=False)
            kept[match["index"]] = kept.get(match["index"], 0) + 1
    return removed


def settle(folder: Path) -> None:
    """Clear up around `folder`, the last checkpoint of a run that was killed as it did so. Of
    the others, the last of every stage before stays; where nothing may be removed, all do."""
    with suppress(OSError):
        tidy(folder.parent)
        prune(folder.parent, 1, folder)


def _newest_first(parent: Path) -> list[Path]:
    """Checkpoint folders; one that a save had moved aside stands after its successor."""
    ranked = []
    for path in parent.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and path.is_dir():
            ranked.append((int(match["index"]), int(match["step"]), not match["aside"], path))
    return [path for *_, path in sorted(ranked, reverse=True)]


def _put_in_place(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        temporary.replace(folder)
        return
    aside = folder.with_name(f".{folder.name}.old-{token_hex(4)}")
    folder.replace(aside)
    try:
        temporary.replace(folder)
    except BaseException:
        aside.replace(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Under another name first: a removal cut short must not leave half a checkpoint."""
    dying = folder.with_name(f".{folder.name}.tmp-{token_hex(4)}")
    folder.replace(dying)
    shutil.rmtree(dying, ignore_errors=True)


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    """Force a file's bytes, or a folder's names, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
