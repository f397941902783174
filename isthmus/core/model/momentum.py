"""Momentum: copies of what learns that follow it slowly, and say how sure they are of an answer.

What they find likely is a target beside the right answer (momentum distillation), since a caption
off the web is rarely the only one that fits; and what they have made of earlier pictures and texts
may be kept, to compare more with than a batch has. Source: ALBEF (Li et al. 2021, arXiv:2107.07651)
and MoCo (He et al. 2019, arXiv:1911.05722). Copies drop nothing out, other than the authors' do.
"""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor, nn

from isthmus.core.contracts import Config, Objective
from isthmus.core.model.vlm import VisionLanguageModel, learns

COPIES = "copies"
"""Under what name the copies stand on a batch, for objectives that ask them."""


class MomentumConfig(Config):
    """How copies follow, and what they are asked."""

    rate: float = Field(default=0.995, gt=0, lt=1)
    """What stays of a copy in a step; the rest is what has been learnt by then."""
    share: float = Field(default=0.4, ge=0, lt=1)
    """Share of the copies' answer in a target; the right one has the rest."""
    warmup: NonNegativeInt = 0
    """Steps in which the share grows from none: the first copies know nothing."""
    queue: NonNegativeInt = 0
    """Matches of earlier steps that `itc` compares with, too; a multiple of the batch."""


class AsksCopies(Objective, ABC):
    """An objective that asks copies, where there are any (`Matches.left(COPIES)`)."""

    @property
    def kept_dim(self) -> int | None:
        """Width of the vectors, one for a picture and one for a text, that it would compare with
        those of earlier steps; None, it compares none."""
        return None


@dataclass(frozen=True)
class Copies:
    """The copies as objectives ask them about one batch: `model`, `heads` by the objectives' names,
    and the batch, where what they compute is kept apart. `share` (1) is theirs in a target."""

    model: VisionLanguageModel
    heads: Mapping[str, Any]
    share: Tensor
    queue: Queue | None
    batch: Any


class Momentum(nn.Module):
    """Copies of the model's parts that learn, and of objectives; other parts are the model's."""

    steps: Tensor

    def __init__(
        self, config: MomentumConfig, model: VisionLanguageModel, heads: Mapping[str, AsksCopies]
    ) -> None:
        super().__init__()
        self.config = config
        there = model.parts()
        self.parts = nn.ModuleDict({n: _copy(part) for n, part in there.items() if learns(part)})
        self.heads = nn.ModuleDict({name: _copy(head) for name, head in heads.items()})
        # Not as a module: the parts that do not learn are no weights of this one.
        parts: dict[str, Any] = there | dict(self.parts.items())
        self._model = (VisionLanguageModel(**parts),)
        self.register_buffer("steps", torch.zeros(1))
        self.queue: Queue | None = None
        kept = [dim for head in heads.values() if (dim := head.kept_dim) is not None]
        if config.queue and kept:
            self.queue = Queue(config.queue, kept[0])

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    def about(self, batch: Any) -> Copies:
        """The copies, about this batch."""
        share = torch.full_like(self.steps, self.config.share)
        if self.config.warmup:
            share = share * (self.steps / self.config.warmup).clamp(max=1.0)
        heads = dict(self.heads.items())
        return Copies(self._model[0], heads, share, self.queue, replace(batch, memo={}))

    def copy_heads(self, heads: Mapping[str, nn.Module]) -> None:
        """Begin anew as these are now, the model's parts left as they are."""
        for name, copied in self.heads.items():
            copied.load_state_dict(heads[name].state_dict())

    @torch.no_grad()
    def follow(self, model: VisionLanguageModel, heads: Mapping[str, nn.Module]) -> None:
        """Move towards what has been learnt; after every step of the optimizer, on weights as
        processes hold them."""
        self.steps += 1
        there = model.parts()
        pairs = [(copied, there[name]) for name, copied in self.parts.items()]
        pairs += [(copied, heads[name]) for name, copied in self.heads.items()]
        for copied, learnt in pairs:
            for own, now in zip(copied.parameters(), learnt.parameters(), strict=True):
                own.lerp_(now.detach(), 1 - self.config.rate)  # which leaves equal ones as they are
            for mine, its in zip(copied.buffers(), learnt.buffers(), strict=True):
                mine.copy_(its)


class Queue(nn.Module):
    """The last `size` matches, as copies saw them: vectors of pictures and texts, and their keys.
    The same on every process."""

    images: Tensor
    texts: Tensor
    keys: Tensor
    added: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, dim))
        self.register_buffer("texts", torch.zeros(size, dim))
        self.register_buffer("keys", torch.zeros(size, 3, dtype=torch.long))
        self.register_buffer("added", torch.zeros(1, dtype=torch.long))

    @property
    def real(self) -> Tensor:
        """(size) which of them there are."""
        return torch.arange(len(self.keys), device=self.keys.device) < self.added

    @torch.no_grad()
    def add(self, images: Tensor, texts: Tensor, keys: Tensor) -> None:
        """(matches dim) each, and (matches 3), in the place of the oldest."""
        size = len(self.keys)
        count = len(keys[-size:])
        at = (self.added + torch.arange(count, device=keys.device)) % size
        for own, new in ((self.images, images), (self.texts, texts), (self.keys, keys)):
            own[at] = new[-size:].to(own.dtype)
        self.added += count


def _copy(module: nn.Module) -> nn.Module:
    """A frozen one; a tokenizer is no weight."""
    tokenizer = getattr(module, "tokenizer", None)
    copied: nn.Module = copy.deepcopy(module, {id(tokenizer): tokenizer})
    return copied.requires_grad_(False).eval()
