"""Where a YAML names the checkpoint that something is wrong with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isthmus.errors import CheckpointError


@contextmanager
def named_at(place: str) -> Iterator[None]:
    """In this block a CheckpointError is said with `place` before it: `captioner.model`."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{place}: {error}") from error
