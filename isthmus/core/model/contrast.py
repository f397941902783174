"""Every image of a step beside every text of it, over all processes: what contrastive losses share.

Two matches of one picture, or of one text, are no negatives of each other: as far as that is known
(by the picture's path and the text's words), they are left out of each other's sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.core.model.ranks import Ranks


@dataclass(frozen=True)
class Everyone:
    """All matches of a step, seen from one process, whose own are `own` of them (rows).

    `keys` (all 3) are those of `Matches`. `others` (rows all) is True where a match is another one,
    and not known to be of the same picture or text.
    """

    ranks: Ranks
    keys: Tensor
    own: Tensor
    others: Tensor

    @staticmethod
    def of(keys: Tensor, counted: bool) -> Everyone:
        """Ask all processes. Matches that are not `counted` nobody gets to see."""
        mine = keys if counted else keys[:0]
        ranks = Ranks.of(len(mine), keys.device)
        everyone = ranks.rows(mine)
        own = torch.arange(len(mine), device=keys.device) + ranks.start
        alike = (mine[:, None, :2] == everyone[None, :, :2]).any(dim=2)
        return Everyone(ranks, everyone, own, ~alike)

    def beside(self, keys: Tensor, real: Tensor) -> Everyone:
        """With more columns: matches that are not of this step, `keys` (more 3), as far as they are
        `real` (more)."""
        mine = self.keys[self.own]
        alike = (mine[:, None, :2] == keys[None, :, :2]).any(dim=2)
        return replace(self, others=torch.cat([self.others, ~alike & real], dim=1))

    def mine(self, rows: Tensor) -> Tensor:
        """The rows of this process's matches, as far as they count."""
        return rows[: len(self.own)]

    def masked(self, scores: Tensor) -> Tensor:
        """(rows all) scores, -inf where a match is neither the right one nor a negative."""
        return scores.masked_fill(~self._counts(), -torch.inf)

    def _counts(self) -> Tensor:
        return self.others.scatter(1, self.own[:, None], True)

    def cross_entropy(self, scores: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(rows all) logits -> the sum of the rows' losses, and how many rows score their own match
        highest (ties among unequal matches are wrong). Of `targets` (rows all) every row is a
        share for each match; absent, the right one has all."""
        masked = self.masked(scores.float())
        if targets is None:
            lost = functional.cross_entropy(masked, self.own, reduction="sum")
        else:
            logs = masked.log_softmax(dim=1).masked_fill(~self._counts(), 0.0)
            lost = -(targets * logs).sum()
        return lost, self.hits(masked)

    def targets(self, scores: Tensor, share: Tensor) -> Tensor:
        """(rows all) logits -> of every row a `share` (1) by their likelihoods, and the rest for
        the right one."""
        likely = self.masked(scores.float()).softmax(dim=1)
        right = torch.zeros_like(likely).scatter(1, self.own[:, None], 1.0)
        return share * likely + (1 - share) * right

    def hits(self, masked: Tensor) -> Tensor:
        """How many rows score their own match highest."""
        right = masked.gather(1, self.own[:, None])
        rivals = masked.masked_fill(~self.others, -torch.inf)
        return (right > rivals.amax(dim=1, keepdim=True)).float().sum()

    def sigmoid(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(rows all) logits -> the sum of all matches' losses, and of the rows' hits."""
        logits = logits.float()
        signs = torch.full_like(logits, -1.0).scatter(1, self.own[:, None], 1.0)
        lost = -functional.logsigmoid(signs * logits)
        return (lost * self._counts()).sum(), self.hits(self.masked(logits))


def best(queries: Tensor, texts: Tensor) -> Tensor:
    """(rows dim) or (rows queries dim), (all dim) -> (rows all) the best query's product."""
    if queries.ndim == 2:
        return queries @ texts.T
    return (queries @ texts.T).amax(dim=1)


DEPTHS = (1, 5, 10)
"""How many of a ranking are looked at."""


def recalls(scores: Tensor, right: Tensor, depths: Sequence[int] = DEPTHS) -> dict[str, float]:
    """Shares of the rows of scores (rows all) that have something `right` (rows all) among their
    highest so many, by `recall_at_{depth}`."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    hit = right.gather(1, order)
    shares = {}
    for depth in depths:
        found = hit[:, :depth].any(dim=1)
        shares[f"recall_at_{depth}"] = float(found.float().mean())
    return shares


def chance(right: int, offered: int, depth: int) -> float:
    """How likely one of so many that are right is among the first so many of all that are offered,
    where their order is drawn evenly."""
    return 1 - math.comb(offered - right, depth) / math.comb(offered, min(depth, offered))


def unit(rows: Tensor) -> Tensor:
    """Rows of length one, in fp32."""
    return functional.normalize(rows.float(), dim=-1)


class Temperature(nn.Module):
    """A learned factor of similarities, which begins as `start` and is kept at `most` at most."""

    def __init__(self, start: float, most: float | None = None) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor([start]).log())  # FSDP refuses scalars
        self.most = most

    def forward(self) -> Tensor:
        """(1)"""
        return self.log.exp()

    @torch.no_grad()
    def keep(self) -> None:
        """After a step: no more than `most`. Cut off in `forward`, what has come there (a published
        CLIP's has) would get no gradient, and never leave it again."""
        if self.most is not None:
            self.log.clamp_(max=math.log(self.most))
