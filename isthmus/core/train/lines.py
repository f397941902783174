"""Files of JSON lines that grow with a run and go on with it after a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isthmus.errors import WorkError


class LineFile:
    """Lines that name their `stage` and `step`.

    `done` (stage -> its last step that counts) is where a run takes up: what an interrupted
    run had written beyond it is forgotten.
    """

    def __init__(self, path: Path, done: Mapping[str, float]) -> None:
        self.path = path
        lines = [line for line in read_lines(path) if line["step"] <= done.get(line["stage"], -1)]
        if lines or path.exists():
            partial = path.with_suffix(".tmp")
            with writing(path):
                partial.write_text("".join(json.dumps(line) + "\n" for line in lines))
                partial.replace(path)

    def add(self, stage: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one line. Raises WorkError when the disk does not take it."""
        with writing(self.path), self.path.open("a") as file:
            file.write(json.dumps({"stage": stage, "step": step, **values}) + "\n")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A full disk, or one gone read-only, is a WorkError that names `path`."""
    try:
        yield
    except OSError as error:
        raise WorkError(
            f"{path}: cannot be written: {error.strerror}. Make room, and go on with --resume"
        ) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of such a file, in order; a last one cut short by a kill is left out."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise
    return found
