"""Retrieval over a whole validation set: pictures among all texts, texts among all pictures.

Objectives that compare pictures and texts leave the vectors of each batch behind (`VECTORS`); here
they are gathered, each picture and each text once however many matches it is in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isthmus.core.contracts import Batch, Mixed
from isthmus.core.data.matches import VECTORS, Matches
from isthmus.core.model.contrast import best, recalls
from isthmus.core.train.parallel import Parallel

ROWS = 256
"""Pictures that are compared with all texts at once."""


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
        """Recall at 1, 5 and 10 both ways, over what all processes saw; nothing where nobody
        compared anything. For all to call."""
        for other in parallel.gather((self.pictures, self.texts, self.matches)):
            self.pictures, self.texts = other[0] | self.pictures, other[1] | self.texts
            self.matches |= other[2]
        if not self.matches:
            return {}
        rows = {key: row for row, key in enumerate(self.pictures)}
        columns = {key: column for column, key in enumerate(self.texts)}
        right = torch.zeros(len(rows), len(columns), dtype=torch.bool)
        for picture, text in self.matches:
            right[rows[picture], columns[text]] = True
        texts = torch.stack(list(self.texts.values()))
        chunks = torch.split(torch.stack(list(self.pictures.values())), ROWS)
        scores = torch.cat([best(chunk, texts) for chunk in chunks])
        found = {"image_to_text": (scores, right), "text_to_image": (scores.T, right.T)}
        return {
            f"{way}_{name}": share
            for way, each in found.items()
            for name, share in recalls(*each).items()
        }
