"""Retrieval over a whole validation set: pictures among all texts, texts among all pictures.

Objectives that compare pictures and texts leave the vectors of each batch behind (`VECTORS`); here
they are gathered, each picture and each text once however many matches it is in.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from isthmus.core.contracts import Batch, Mixed
from isthmus.core.data.matches import VECTORS, Matches
from isthmus.core.model.contrast import DEPTHS, best, chance, recalls
from isthmus.core.train.parallel import Parallel

ROWS = 256
"""Pictures, or texts, that are compared with all of the others at once."""


class Retrieval:
    """The vectors of the matches seen so far by this process."""

    def __init__(self) -> None:
        self.pictures: dict[int, Tensor] = {}
        self.texts: dict[int, Tensor] = {}
        self.matches: set[tuple[int, int]] = set()

    def add(self, batch: Batch) -> None:
        """Take what an objective left, if any has compared this batch."""
        for own in batch.batches if isinstance(batch, Mixed) else (batch,):
            left = own.left(VECTORS) if isinstance(own, Matches) else None
            if left is None or not isinstance(own, Matches):
                continue
            pictures, texts = (vectors.float().cpu() for vectors in left)
            keys = own.keys[:, :2].tolist()
            for (picture, text), seen, read in zip(keys, pictures, texts, strict=True):
                self.pictures.setdefault(picture, seen.clone())
                self.texts.setdefault(text, read.clone())
                self.matches.add((picture, text))
            return

    def recalls(self, parallel: Parallel) -> dict[str, float]:
        """Recall at 1, 5 and 10 both ways, over what all processes saw, and how many times it is
        that of rankings drawn at random; nothing where nobody compared anything. For all to call.
        """
        for other in parallel.gather((self.pictures, self.texts, self.matches)):
            self.pictures, self.texts = other[0] | self.pictures, other[1] | self.texts
            self.matches |= other[2]
        if not self.matches:
            return {}
        pictures = torch.stack(list(self.pictures.values()))
        texts = torch.stack(list(self.texts.values()))
        numbers = {key: number for number, key in enumerate(self.pictures)}
        columns = {key: number for number, key in enumerate(self.texts)}
        known = torch.tensor([(numbers[picture], columns[text]) for picture, text in self.matches])
        ways = {
            "image_to_text": _shares(pictures, texts, known, best),
            "text_to_image": _shares(texts, pictures, known.flip(1), lambda a, b: best(b, a).T),
        }
        return {
            f"{way}_{name}": share for way, found in ways.items() for name, share in found.items()
        }


def _shares(
    asked: Tensor, offered: Tensor, known: Tensor, score: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, float]:
    """Recalls of all that is asked, some rows at a time: no table of everything has to be kept.
    `known` (matches 2) are rows of both that belong together."""
    sums: dict[str, float] = {}
    counts = torch.bincount(known[:, 0], minlength=len(asked)).bincount().tolist()
    for start in range(0, len(asked), ROWS):
        rows = asked[start : start + ROWS]
        inside = known[(known[:, 0] >= start) & (known[:, 0] < start + len(rows))]
        right = torch.zeros(len(rows), len(offered), dtype=torch.bool)
        right[inside[:, 0] - start, inside[:, 1]] = True
        for name, share in recalls(score(rows, offered), right).items():
            sums[name] = sums.get(name, 0.0) + share * len(rows)
    shares = {name: total / len(asked) for name, total in sums.items()}
    for depth in DEPTHS:
        drawn = sum(n * chance(right, len(offered), depth) for right, n in enumerate(counts))
        shares[f"times_chance_at_{depth}"] = shares[f"recall_at_{depth}"] * len(asked) / drawn
    return shares
