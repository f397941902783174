"""How many operations an objective takes that compares pictures with texts, found by comparing
a few."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from isthmus.core.contracts import Batch, ImageSlot, Mixed, Objective, Sample, Tools, Turn
from isthmus.core.data.matches import Matches
from isthmus.core.model.momentum import Momentum
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.flops import Parabola, Sight, Which
from isthmus.core.train.sight_operations import Seen
from isthmus.core.train.watching import watching_each
from isthmus.errors import IsthmusError

SIDE = 32
"""Pixels of a picture that is compared."""


@dataclass(frozen=True)
class MatchFlops:
    """What a step of matches takes: the encoder for each crop, all else for each `match` whose
    text has so many tokens, and for every two matches of a micro-batch (`both`)."""

    sight: Sight
    match: Parabola
    both: float

    def step(self, batches: Sequence[Batch], causal: bool = True) -> float | None:
        total = 0.0
        for batch in batches:
            matches = matches_of(batch)
            if matches is None:
                return None
            lengths = matches.text.mask.sum(dim=1).tolist()
            total += self.sight.look(matches.images) + self.both * len(lengths) ** 2
            total += sum(map(self.match, lengths))
        return total

    def repeated(self, batches: Sequence[Batch], which: Which) -> float:
        found = [matches_of(batch) for batch in batches]
        return sum(self.sight.repeated(matches, which) for matches in found if matches)


def matches_of(batch: Batch) -> Matches | None:
    """The matches that a batch has, once; None where it has something else."""
    if isinstance(batch, Mixed):
        first, *others = (matches_of(each) for each in batch.batches)
        return first if all(other is first for other in others) else None
    return batch if isinstance(batch, Matches) else None


def match_flops(
    model: VisionLanguageModel, objective: Objective, tools: Tools, seen: Seen, device: torch.device
) -> MatchFlops | None:
    """None where the objective batches something else, or texts cannot be of three lengths."""
    shared = {id(part): part for part in model.parts().values()}
    objective = copy.deepcopy(objective, shared).to(device).eval()
    try:
        took = _Trial(model, objective, tools, seen, device)
        two, three, four = (took(count, 2) for count in (2, 3, 4))
        texts = [two, took(2, 5), took(2, 8)]
    except _NoMatches:
        return None
    both = (four[0] - 2 * three[0] + two[0]) / 2
    each = three[0] - two[0] - 5 * both
    rest = two[0] - 2 * each - 4 * both
    points = [(length, (whole - rest - 4 * both) / 2) for whole, length in texts]
    if len({length for length, _ in points}) < len(points):
        return None
    return MatchFlops(seen.sight, _through(points), both)


class _NoMatches(IsthmusError):
    """The objective does not batch matches."""


@dataclass(frozen=True)
class _Trial:
    model: VisionLanguageModel
    objective: Objective
    tools: Tools
    seen: Seen
    device: torch.device

    def __call__(self, count: int, words: int) -> tuple[float, int]:
        """Operations of so many matches, the encoder's left out, and how long their texts are."""
        preparer = self.objective.preparer(self.tools)
        examples = [preparer.prepare(_sample(number, words)) for number in range(count)]
        batch = preparer.collate(examples).to(self.device)
        matches = matches_of(batch)
        if matches is None:
            raise _NoMatches("something else")
        parts = [part for name, part in self.model.parts().items() if name != "encoder"]
        with (
            watching_each([*parts, self.objective]) as watched,
            FlopCounterMode(display=False) as counter,
        ):
            loss = self.objective(self.model, batch).sum
        forward = sum(each.forward for each in watched)
        looked = self.seen.forward * sum(matches.images.crops)
        more = counter.get_total_flops() - forward - looked
        passes = 3 if loss.requires_grad else 1
        taught = self._taught(batch, counter.get_total_flops())
        total = sum(each.all for each in watched) + passes * more + taught
        return total, int(matches.text.mask[0].sum())

    def _taught(self, batch: Batch, untaught: float) -> float:
        """Operations of copies that are asked in training alone (`Momentum`), forward."""
        if not any(isinstance(module, Momentum) for module in self.objective.modules()):
            return 0.0
        self.objective.train()
        with FlopCounterMode(display=False) as counter:
            self.objective(self.model, batch)
        self.objective.eval()
        return counter.get_total_flops() - untaught


def _sample(number: int, words: int) -> Sample:
    """A picture of one grey, and so many words."""
    turns = (Turn("user", (ImageSlot(0),)), Turn("assistant", ("a " * words + "a",)))
    return Sample(str(number), turns, (Image.new("RGB", (SIDE, SIDE), (number,) * 3),))


def _through(points: list[tuple[int, float]]) -> Parabola:
    """The parabola through three points (Lagrange)."""
    a = b = c = 0.0
    for at, (x, y) in enumerate(points):
        (u, _), (v, _) = points[:at] + points[at + 1 :]
        share = y / ((x - u) * (x - v))
        a, b, c = a + share * u * v, b - share * (u + v), c + share
    return Parabola(a, b, c)
