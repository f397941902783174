"""Taking one journal into another: parts of one work that were asked for on several machines."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

from isthmus.core.chat.call import Call, Refusal
from isthmus.core.chat.journal import Journal

BATCH = 1000
"""Rows to a transaction."""


def take(journal: Journal, other: Journal) -> int:
    """Add the calls and refusals of the other journal that this one has not; how many.

    Raises WorkError where the disk does not take them.
    """
    known = Counter(_digest(row) for row in _rows(journal))
    taken = 0
    rows: list[Call | Refusal] = []
    for row in _rows(other):
        digest = _digest(row)
        if known[digest]:
            known[digest] -= 1
            continue
        rows.append(row)
        if len(rows) == BATCH:
            journal.write(rows)
            taken += BATCH
            rows = []
    journal.write(rows)
    return taken + len(rows)


def _rows(journal: Journal) -> Iterator[Call | Refusal]:
    yield from journal.calls()
    yield from journal.refusals()


def _digest(row: Call | Refusal) -> bytes:
    """By which a row is known again."""
    return hashlib.blake2b(repr(row).encode(), digest_size=16).digest()
