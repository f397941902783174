"""Many small things by whom they belong to, kept as bytes: a million Python objects are large."""

from __future__ import annotations

from array import array
from collections.abc import KeysView
from typing import Any

import numpy as np


class Parcels:
    """Bytes that are added with their owner, and found by it once they were sorted."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._of, self._ends = array("I"), array("Q")
        self._content = bytearray()

    def add(self, owner: Any, content: bytes) -> None:
        """One more of this owner."""
        self._of.append(self._numbers.setdefault(owner, len(self._numbers)))
        self._content += content
        self._ends.append(len(self._content))

    def sort(self) -> None:
        """Make ready to be asked; nothing is added from here on."""
        of = np.frombuffer(self._of, np.uint32) if self._of else np.zeros(0, np.uint32)
        self._order = np.argsort(of, kind="stable").astype(np.uint32)
        self._firsts = np.searchsorted(of[self._order], np.arange(len(self._numbers) + 1))

    def owners(self) -> KeysView[Any]:
        """All who have something, in the order in which they came."""
        return self._numbers.keys()

    def of(self, owner: Any) -> list[bytes]:
        """What this owner has, in the order in which it was added."""
        number = self._numbers.get(owner)
        if number is None:
            return []
        found = []
        for place in self._order[self._firsts[number] : self._firsts[number + 1]].tolist():
            begin = self._ends[place - 1] if place else 0
            found.append(bytes(self._content[begin : self._ends[place]]))
        return found
