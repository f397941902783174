"""Frames of a video: which pictures it has, and which of them are looked at.

A video is a folder of pictures, or a list of them. Decoding films is left to the programs that
are made for it: a folder of frames is read by any number of workers, at any place, at once.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from isthmus.core.data.paths import inside
from isthmus.errors import DataError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of the files that are frames; what else lies in a folder is passed over."""


def frames_in(root: Path, name: str, origin: str) -> list[str]:
    """Paths, relative to `root`, of the frames in the folder `name` below it, in the order of the
    numbers in their names. Raises DataError where there are none."""
    folder = inside(root, name, origin)
    try:
        files = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except FileNotFoundError:
        raise DataError(f"{origin}: there is no folder of frames {folder}") from None
    except NotADirectoryError:
        raise DataError(
            f"{origin}: {folder} is a file; a video is a folder of frames. Write them out first, "
            "with `ffmpeg -i clip.mp4 -vf fps=2 clip/%05d.jpg` for two a second"
        ) from None
    except OSError as error:
        raise DataError(f"{origin}: {folder} cannot be read ({error.strerror})") from None
    frames = [file for file in files if file.lower().endswith(SUFFIXES) and file[0] != "."]
    if not frames:
        raise DataError(f"{origin}: no frame in {folder}; they end in {', '.join(SUFFIXES)}")
    return [f"{name.rstrip('/')}/{file}" for file in sorted(frames, key=_by_number)]


def sampled(count: int, wanted: int) -> list[int]:
    """Numbers of `wanted` of so many frames, uniformly: the middle ones of stretches of equal
    length. All of them, each once, where there are not more."""
    if count <= wanted:
        return list(range(count))
    return [(2 * part + 1) * count // (2 * wanted) for part in range(wanted)]


def _by_number(name: str) -> tuple[list[tuple[int, str]], str]:
    """`frame_9` before `frame_10`."""
    pieces = re.split(r"([0-9]+)", name)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces], name
