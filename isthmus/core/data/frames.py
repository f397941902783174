"""Frames of a video: which pictures it has, and which of them are looked at.

A video is a folder of pictures, or a list of them. Decoding films is left to the programs that
are made for it: a folder of frames is read by any number of workers, at any place, at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt

from isthmus.core.contracts import Config
from isthmus.core.data.paths import check_name, inside
from isthmus.core.data.records import checked_list, image_names
from isthmus.errors import DataError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of the files that are frames; what else lies in a folder is passed over."""


class FrameConfig(Config):
    """Which frames of a video are looked at, and how they stand in a text."""

    frames: PositiveInt = 8
    """Frames that are looked at: the middles of so many stretches of equal length. Of a video
    with fewer, all."""
    fps: float = Field(default=1.0, gt=0)
    """Frames in a second of a video, where its record has no `fps`."""
    timestamps: bool = True
    """Write the second of every frame before it, as text."""


def frames_of(
    record: Mapping[str, Any], root: Path, settings: FrameConfig, origin: str
) -> tuple[list[str], list[str]]:
    """Paths below `root` of the frames of a record's `video` that are looked at, and what stands
    before each (`1.50s: `). Raises DataError."""
    video = record.get("video")
    if isinstance(video, list):
        names = image_names(checked_list(video, origin, "video"), origin)
    else:
        names = frames_in(root, check_name(video, origin), origin)
    fps = record.get("fps", settings.fps)
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e6:
        raise DataError(f"{origin}: `fps` is a number of frames a second; found {fps!r:.60}")
    numbers = sampled(len(names), settings.frames)
    stamps = [f"{number / fps:.2f}s: " if settings.timestamps else "" for number in numbers]
    return [names[number] for number in numbers], stamps


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
