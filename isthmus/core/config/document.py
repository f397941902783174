"""A YAML file as plain values, and the line that each of them stands on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isthmus.core.config.reader import Reader
from isthmus.core.contracts import Place
from isthmus.errors import ConfigError, Problem

MAX_BYTES = 1_000_000

SECRET = re.compile(
    r"(?i)(.+_)?((api|access|private)_?key|password|passwd|secret|(auth|access|hf)_token)"
)


@dataclass(frozen=True)
class Document:
    """Values as YAML gives them. A place whose line is None was set by an override."""

    values: dict[str, Any]
    lines: Mapping[Place, int | None] = field(default_factory=dict)
    source: str = ""
    folder: Path | None = None

    def line(self, place: Place) -> int | None:
        """Line of the value, or of the nearest one around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)


def read(path: Path) -> Document:
    """The document in a file; ConfigError names every problem of its YAML."""
    source = str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError([Problem("", f"larger than {MAX_BYTES:,} bytes")], source)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem("", f"cannot be read: {error.strerror}")], source) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem("", f"is not UTF-8 text: {error}")], source) from error
    return parse(text, source, path.absolute().parent)


def parse(text: str, source: str = "", folder: Path | None = None) -> Document:
    """The document in a string; relative data paths are read from `folder`."""
    reader = Reader()
    values = reader.read(text)
    if not reader.problems and not isinstance(values, dict):
        found = "nothing" if values is None else f"a {type(values).__name__}"
        reader.problems.append(Problem("", f"a mapping (`key: value`) is needed; found {found}"))
    if reader.problems:
        raise ConfigError(reader.problems, source)
    return Document(values, reader.lines, source, folder)


def secrets(values: Any, place: Place = ()) -> list[Place]:
    """Places whose key says that the string there is a secret.

    Runs and checkpoints carry their YAML with them, so a secret there would be published.
    """
    if isinstance(values, Mapping):
        inside = [(key, value) for key, value in values.items()]
    elif isinstance(values, list | tuple):
        inside = list(enumerate(values))
    else:
        return []
    found: list[Place] = []
    for key, value in inside:
        here = (*place, key)
        if isinstance(value, str) and value and SECRET.fullmatch(str(key)):
            found.append(here)
        found += secrets(value, here)
    return found
