"""Samples whose words were there before, exactly or nearly.

Nearly: MinHash (datasketch) over runs of five words, for samples of the same recipe that are long
enough to be alike for more than being short. What shares a band of its signature with an earlier
sample is compared with it. Datasketch's own index would take several times the memory.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from isthmus.core.contracts import Exchange
from isthmus.errors import Rejected

RUN = 5
SHORTEST = 20
"""Words of answers from which samples of different images are compared."""
BANDS, ROWS = 8, 8
"""Of a signature: what is alike to 90 % shares a band in 99 of 100 cases."""
WORD = re.compile(r"\w+")


class Duplicates:
    """Remembers what it was shown: samples in order, of which the first of a sort is kept."""

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold
        self._seen: set[bytes] = set()
        self._near: dict[str, _Signatures] = {}

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
            known = self._near.setdefault(recipe, _Signatures(self.threshold))
            known.check(id, _signature(words))
        self._seen.add(digest[:12])


class _Signatures:
    """Signatures of one recipe's samples, found again by their bands."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._bands: list[dict[int, int]] = [{} for _ in range(BANDS)]
        self._ids: list[str] = []
        self._all = bytearray()

    def check(self, id: str, signature: bytes) -> None:
        """Raise Rejected for what is nearly like an earlier one; remember what is not."""
        size = len(signature) // BANDS
        keys = [_number(signature[at : at + size]) for at in range(0, len(signature), size)]
        near = {band[key] for band, key in zip(self._bands, keys, strict=True) if key in band}
        mine = np.frombuffer(signature, np.uint32)
        for number in sorted(near):
            begin = number * len(signature)
            its = np.frombuffer(bytes(self._all[begin : begin + len(signature)]), np.uint32)
            if np.mean(mine == its) >= self.threshold:
                raise Rejected("near_duplicate", f"nearly the same words as in {self._ids[number]}")
        number = len(self._ids)  # one object for all bands
        for band, key in zip(self._bands, keys, strict=True):
            band.setdefault(key, number)
        self._ids.append(id)
        self._all += signature


def _signature(words: list[str]) -> bytes:
    from datasketch import MinHash  # brings scipy, which takes a second

    made = MinHash(num_perm=BANDS * ROWS, seed=1)
    runs = {" ".join(words[at : at + RUN]) for at in range(len(words) - RUN + 1)}
    made.update_batch(sorted(run.encode("utf-8", "replace") for run in runs))
    return made.hashvalues.astype(np.uint32).tobytes()


def _number(band: bytes) -> int:
    """56 bits, which Python keeps in 32 bytes; the same in every process, as its hash is not."""
    return int.from_bytes(hashlib.blake2b(band, digest_size=7).digest(), "big")
