"""Paths that a data file names: they stay inside their folder, whatever is written."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from isthmus.errors import DataError

LONGEST = 1024
"""Characters of a path in a record, at most: beyond it, it is no path."""


def check_name(name: object, origin: str) -> str:
    """`name` if it can only mean a place below a folder. Looks at no disk. Raises DataError."""
    if not isinstance(name, str) or not name:
        raise DataError(f"{origin}: an image is the path of a file as text; found {name!r:.80}")
    shown = f"{name!r:.80}"
    if len(name) > LONGEST:
        raise DataError(f"{origin}: image path of {len(name)} characters: {shown}...")
    if "\0" in name:
        raise DataError(f"{origin}: image path {shown} has a zero byte in it")
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    if posix.is_absolute() or windows.drive or windows.root:
        raise DataError(
            f"{origin}: image path {shown} is absolute; write it relative to the `images` folder"
        )
    if ".." in posix.parts or ".." in windows.parts:
        raise DataError(f"{origin}: image path {shown} leaves the `images` folder; remove '..'")
    return name


def inside(root: Path, name: str, origin: str) -> Path:
    """The file `name` below `root`, all links followed. Raises DataError if it lies outside.

    `root` is a real path (`Path.resolve`). Whether the file exists is not asked.
    """
    real = os.path.realpath(root / check_name(name, origin))
    if os.path.commonpath([root, real]) != str(root):
        raise DataError(
            f"{origin}: image path {name!r:.80} is a link that leaves the `images` folder {root}; "
            "copy the files, or let `images` name the folder they are in"
        )
    return Path(real)
