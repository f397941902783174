"""Samples whose words were there before, exactly or nearly.

Nearly: MinHash over runs of five words, in buckets (datasketch), for samples of the same recipe
that are long enough to be alike for more than being short.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from isthmus.core.contracts import Exchange
from isthmus.errors import InputError, Rejected

RUN = 5
SHORTEST = 20
"""Words of answers from which samples of different images are compared."""
PERMUTATIONS = 64
WORD = re.compile(r"\w+")


class Duplicates:
    """Remembers what it was shown: samples in order, of which the first of a sort is kept."""

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold
        self._seen: set[bytes] = set()
        self._near: dict[str, Any] = {}

    def check(self, image: str, recipe: str, id: str, exchanges: Sequence[Exchange]) -> None:
        """Raise Rejected for a duplicate; remember what is none."""
        answers = [WORD.findall(each.answer.lower()) for each in exchanges]
        words = [word for answer in answers for word in answer]
        whole = [WORD.findall(each.question.lower()) for each in exchanges], answers
        # Short answers may be the same by chance, but not twice about one image.
        about = "" if len(words) >= SHORTEST else image
        digest = hashlib.sha256(repr((recipe, about, whole)).encode("utf-8", "replace")).digest()
        if digest[:12] in self._seen:
            raise Rejected("duplicate", "the same words are in an earlier sample")
        if self.threshold is not None and len(words) >= SHORTEST:
            self._check_near(recipe, id, words)
        self._seen.add(digest[:12])

    def _check_near(self, recipe: str, id: str, words: list[str]) -> None:
        min_hash, index = _tools(self.threshold)
        made = min_hash(num_perm=PERMUTATIONS, seed=1)
        runs = {" ".join(words[at : at + RUN]) for at in range(len(words) - RUN + 1)}
        made.update_batch(sorted(run.encode("utf-8", "replace") for run in runs))
        if recipe not in self._near:
            self._near[recipe] = index(threshold=self.threshold, num_perm=PERMUTATIONS)
        if near := self._near[recipe].query(made):
            raise Rejected("near_duplicate", f"nearly the same words as in {sorted(near)[0]}")
        self._near[recipe].insert(id, made)


def _tools(threshold: float | None) -> tuple[Any, Any]:
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError:
        raise InputError(
            f"quality.near_duplicates: {threshold} needs the library datasketch: pip install "
            "isthmus[synthesize], or set it to null"
        ) from None
    return MinHash, MinHashLSH
