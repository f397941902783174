"""Entry points: what installed distributions offer, and which of it is switched on.

Read from metadata alone; nothing here imports a plugin. Distributions are read one by one,
since `importlib.metadata.entry_points` dies on the first one that is malformed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.metadata import (
    Distribution,
    EntryPoint,
    PackageNotFoundError,
    distributions,
    version,
)
from typing import Any

from isthmus.errors import Problem

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Offer:
    """One entry point and the distribution that has it."""

    name: str
    value: str
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        """`isthmus-foo 1.2 (entry point foo)`"""
        return f"{self.distribution} {self.version} (entry point {self.name})"

    @property
    def names(self) -> set[str]:
        """What ISTHMUS_PLUGINS may call it."""
        return {_normal(self.distribution), _normal(self.name)}

    def load(self) -> Any:
        """Import what the value names: a module, or an attribute of one."""
        return EntryPoint(self.name, self.value, "").load()


def switched_on(variable: str) -> bool:
    """Whether an environment switch is set to something other than 0, false, no or off."""
    return os.environ.get(variable, "").strip().lower() not in ("", "0", "false", "no", "off")


def own_version() -> str:
    """Version of the installed isthmus."""
    try:
        return version("isthmus")
    except PackageNotFoundError:
        return UNKNOWN


def select(group: str) -> tuple[list[Offer], list[Problem]]:
    """The group's entry points that the switches admit, and what is wrong.

    ISTHMUS_DISABLE_PLUGIN_AUTOLOAD admits none, whatever ISTHMUS_PLUGINS lists.
    """
    if switched_on("ISTHMUS_DISABLE_PLUGIN_AUTOLOAD"):
        return [], []
    offers, problems = _offers(group)
    wanted = _allowed().keys()
    return [offer for offer in offers if not wanted or offer.names & wanted], problems


def unknown_wishes(*groups: str) -> list[Problem]:
    """Names in ISTHMUS_PLUGINS that no distribution or entry point of these groups has."""
    known: set[str] = set().union(*(o.names for group in groups for o in _offers(group)[0]))
    return [
        Problem("ISTHMUS_PLUGINS", f"no distribution or entry point is called {written!r}")
        for name, written in _allowed().items()
        if name not in known
    ]


def _allowed() -> dict[str, str]:
    """Names in ISTHMUS_PLUGINS: normal form -> as written."""
    names = (name.strip() for name in os.environ.get("ISTHMUS_PLUGINS", "").split(","))
    return {_normal(name): name for name in names if name}


def _offers(group: str) -> tuple[list[Offer], list[Problem]]:
    """Every entry point of the group, sorted, and distributions that cannot be read."""
    offers: dict[str, list[Offer]] = {}
    problems = []
    for distribution in distributions():
        try:
            found = _read(distribution, group)
        except Exception as error:
            where = str(getattr(distribution, "_path", distribution))
            problems.append(Problem(where, f"unreadable metadata: {error}"))
            continue
        if found:
            # Of a distribution that is there twice, Python imports the first on the path.
            offers.setdefault(_normal(found[0].distribution), found)
    ordered = [offers[name] for name in sorted(offers)]
    return [offer for own in ordered for offer in sorted(own, key=lambda o: o.name)], problems


def _read(distribution: Distribution, group: str) -> list[Offer]:
    if group not in (distribution.read_text("entry_points.txt") or ""):
        return []
    return [
        Offer(point.name, point.value, distribution.name, distribution.version)
        for point in distribution.entry_points
        if point.group == group
    ]


def _normal(name: str) -> str:
    """Distribution names are equal when they differ only in case and separators (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
