"""A large set with its concepts in balance: what is common is thinned, what is rare is kept.

The filter by which LLaVA made 595,000 pairs of CC3M (arXiv:2304.08485, appendix): phrases that too
few have are passed over; of each of the others, from the rarest on, all who have it are taken, or
so many at random where more have it. What one phrase adds depends on no other, so that the order
is of no consequence.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Iterable

import numpy as np


def balanced(items: Iterable[Iterable[str]], least: int, most: int, seed: int) -> list[int]:
    """Numbers of the items to take, ascending. An item is the phrases that it has; it counts once
    for each. `least` items have a phrase that counts at all; at most `most` are drawn for one.

    Takes 12 bytes for each phrase of an item, and some times that while it sorts.
    """
    phrases, owners = array("Q"), array("I")
    for number, said in enumerate(items):
        for phrase in set(said):
            phrases.append(_digest(phrase))
            owners.append(number)
    if not phrases:
        return []
    names, of = np.frombuffer(phrases, np.uint64), np.frombuffer(owners, np.uint32)
    order = np.lexsort((of, names))
    names, of = names[order], of[order]
    firsts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    ends = np.r_[firsts[1:], len(names)]
    taken = np.zeros(int(of.max()) + 1, bool)
    for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
        if end - first > most:
            rng = random.Random(f"{seed}/{names[first]}")  # noqa: S311
            taken[[of[first + place] for place in rng.sample(range(end - first), most)]] = True
        elif end - first >= least:
            taken[of[first:end]] = True
    return [int(number) for number in np.flatnonzero(taken)]


def _digest(phrase: str) -> int:
    """64 bits that are the same in every process."""
    said = phrase.encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big")
