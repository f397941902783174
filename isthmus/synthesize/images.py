"""Pictures of scenes, where they are at hand; an annotation may name anything."""

from __future__ import annotations

from pathlib import Path, PurePath

from isthmus.errors import Rejected


def image_at(folder: Path | None, name: str) -> Path | None:
    """The file of an image in the folder; None where it is not there. Raises Rejected for a name
    that leads out of the folder, so that no annotation shows other files of this machine."""
    if folder is None or not name:
        return None
    pure = PurePath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise Rejected("image", f"{name!r:.60} is not in the folder of images")
    try:
        return folder / pure if (folder / pure).is_file() else None
    except OSError:  # a name longer than names can be
        return None
