"""Numbers as others published them, to set one's own beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from isthmus.core.config import load
from isthmus.core.contracts import Config

OURS = Path(__file__).with_name("published.yaml")
"""Rows that come with isthmus."""


class Row(Config):
    """What a paper says of one model on one benchmark."""

    benchmark: str
    """The benchmark's name in isthmus, such as `scienceqa`."""
    model: str
    """What the source calls the model."""
    source: str
    """Where the numbers stand."""
    note: str = ""
    """What has to be known about them."""
    by: dict[str, float] = Field(min_length=1)
    """Column or measure, as `isthmus score` calls it -> number, in percent."""
    runs: tuple[float, ...] = ()
    """The number of each run, where there were several."""


class Table(Config):
    """A file of published numbers."""

    rows: tuple[Row, ...]
    """One for each model and benchmark."""


def published(files: Sequence[Path] = ()) -> list[Row]:
    """The rows that come with isthmus, and those of more files. Raises ConfigError."""
    return [row for file in (OURS, *files) for row in load(Table, file).rows]
