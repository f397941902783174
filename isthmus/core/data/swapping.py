"""Whose pictures a sample gets where pictures change places: in validation, and as a control.

Pictures move on by a fixed rotation, between samples with equally many. Samples that show the
same picture (five captions of one photo) are laid side by side, and the rotation is as long as the
longest such row, so that nobody gets the own picture back wherever that is possible at all.
"""

from __future__ import annotations

import random
from collections.abc import Sequence


def deal(keys: Sequence[tuple[str, ...]], seed: int) -> list[int]:
    """Whose pictures each sample gets; `keys` are its own pictures' names.

    A permutation that keeps the number of pictures, and in which nobody gets pictures of its
    own names unless more than half of the samples share them.
    """
    generator = random.Random(seed)  # noqa: S311  (no secret depends on it)
    giver = list(range(len(keys)))
    for count in sorted({len(key) for key in keys} - {0}):
        rows: dict[tuple[str, ...], list[int]] = {}
        for index, key in enumerate(keys):
            if len(key) == count:
                rows.setdefault(key, []).append(index)
        order = list(rows.values())
        generator.shuffle(order)
        laid = [index for row in order for index in row]
        longest = max(len(row) for row in order)
        for place, index in enumerate(laid):
            giver[index] = laid[(place + longest) % len(laid)]
    return giver
