"""The words of a recipe, in files of its package, and a user's folder that may replace some."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from isthmus.core.data.rows import Rows, read_rows, read_text
from isthmus.errors import DataError, did_you_mean

SUFFIXES = (".txt", ".jsonl")


class PromptFiles:
    """Files of `own`, each replaced by the one of its name in `others` if that has one.

    Raises DataError for a folder that is not there, or that has a file which replaces none.
    """

    def __init__(self, own: Path, others: Path | None = None) -> None:
        names = sorted(path.name for path in own.iterdir() if path.suffix in SUFFIXES)
        self.paths = {name: own / name for name in names}
        self._read: dict[str, str] = {}
        if others is None:
            return
        if not others.is_dir():
            raise DataError(f"{others}: there is no such folder of prompts")
        found = [path for path in sorted(others.iterdir()) if path.suffix in SUFFIXES]
        for path in found:
            if path.name not in self.paths:
                raise DataError(
                    f"{path}: replaces no file of the recipe. Files: {', '.join(names)}."
                    f"{did_you_mean(path.name, names)}"
                )
            self.paths[path.name] = path

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All of them, by name."""
        return tuple(read_text(path) for path in self.paths.values())

    def text(self, name: str) -> str:
        """One of them, without space around it. It is read once: a recipe asks for every scene."""
        if name not in self._read:
            self._read[name] = read_text(self.paths[name]).strip()
        return self._read[name]

    def lines(self, name: str) -> tuple[str, ...]:
        """Lines that are not empty. Raises DataError where there is none."""
        found = tuple(filter(None, (line.strip() for line in self.text(name).splitlines())))
        if not found:
            raise DataError(f"{self.paths[name]}: at least one line is needed")
        return found

    def rows(self, name: str) -> Rows:
        """Records of a .jsonl file."""
        return read_rows(self.paths[name])
