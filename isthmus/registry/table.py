"""The table of parts: (kind, name) -> class, and the distribution that gave it.

Names are exact: never aliased, never matched by a piece of them. A built-in part cannot be
shadowed; of two strangers' parts with one name neither wins.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from isthmus.errors import PartError, did_you_mean
from isthmus.registry.hookspecs import PART_HOOKS

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@dataclass(frozen=True)
class Entry:
    """One registered part and where it comes from."""

    kind: str
    name: str
    part: Any
    distribution: str
    version: str
    module: str
    builtin: bool = False

    @property
    def origin(self) -> str:
        """`isthmus-foo 1.2 (isthmus_foo.parts)`"""
        return f"{self.distribution} {self.version} ({self.module})"


class Refused(Exception):
    """A part that may not enter the table; the message says why."""


def check_part(part: Any, kind: str) -> None:
    """Raise Refused unless `part` is a finished class of this kind, with a name and a Config."""
    hook = PART_HOOKS[kind]
    if not inspect.isclass(part):
        raise Refused(f"{hook} takes a class; found {part!r}")
    what = part.__qualname__
    if getattr(part, "kind", None) != kind:
        found = getattr(part, "kind", None)
        other = f"; use {PART_HOOKS[found]}" if found in PART_HOOKS else ""
        raise Refused(f"{what}: {hook} takes parts of kind {kind!r}; found kind {found!r}{other}")
    name = getattr(part, "name", None)
    if not name:
        raise Refused(f'{what} has no name; write `class {what}(..., name="my_name")`')
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise Refused(f"{what}: {name!r} is no valid name; write lower_snake case")
    if not inspect.isclass(getattr(part, "Config", None)):
        raise Refused(f"{what} has no nested class `Config`")
    if inspect.isabstract(part):
        missing = ", ".join(sorted(getattr(part, "__abstractmethods__", ())))
        raise Refused(f"{what} is not finished; it lacks {missing}")


class Table:
    """Entries by kind and name; several under one name when strangers clash."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], list[Entry]] = {}

    def check(self, entries: Iterable[Entry]) -> None:
        """Raise Refused when these entries of one plugin may not enter."""
        seen: dict[tuple[str, str], Entry] = {}
        for entry in entries:
            key = entry.kind, entry.name
            if key in seen:
                raise Refused(f"registers two {entry.kind}s named {entry.name!r}")
            seen[key] = entry
            for other in self._rows.get(key, ()):
                if other.builtin:
                    raise Refused(
                        f"{entry.kind} {entry.name!r} is built in ({other.origin}) and cannot be "
                        "replaced; give yours another name"
                    )

    def add(self, entry: Entry) -> tuple[Entry, ...]:
        """Take the entry in; returns those that have its name already."""
        rows = self._rows.setdefault((entry.kind, entry.name), [])
        before = tuple(rows)
        rows.append(entry)
        return before

    def entries(self) -> tuple[Entry, ...]:
        """Every part, by kind in the order of the hooks, then by name."""
        kinds = list(PART_HOOKS)
        order = sorted(self._rows, key=lambda key: (kinds.index(key[0]), key[1]))
        return tuple(entry for key in order for entry in self._rows[key])

    def names(self, kind: str) -> tuple[str, ...]:
        """Names of this kind's parts, sorted; PartError where there is no such kind."""
        _check_kind(kind)
        return tuple(sorted(name for of_kind, name in self._rows if of_kind == kind))

    def find(self, kind: str, name: str) -> Entry:
        """The one part of this kind and name, or PartError with what is possible."""
        _check_kind(kind)
        rows = self._rows.get((kind, name), []) if isinstance(name, str) else []
        if len(rows) > 1:
            both = " and ".join(entry.origin for entry in rows)
            raise PartError(
                f"{kind} {name!r} is offered by {both}; uninstall one of them, or name the "
                "distributions to load in ISTHMUS_PLUGINS"
            )
        if not rows:
            names = self.names(kind)
            raise PartError(
                f"no {kind} is called {name!r}. Known: {', '.join(names) or 'none'}."
                f"{did_you_mean(str(name), names)}"
            )
        return rows[0]


def _check_kind(kind: str) -> None:
    if kind not in PART_HOOKS:
        kinds = ", ".join(PART_HOOKS)
        raise PartError(
            f"no kind of part is called {kind!r}. Kinds: {kinds}."
            f"{did_you_mean(str(kind), PART_HOOKS)}"
        )
