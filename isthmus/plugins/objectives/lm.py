"""`lm`: learn the next token of the answers. What LLaVA's two stages train on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from isthmus import hookimpl
from isthmus.core.contracts import Loss, Objective, Pack, Pairs, Preparer, Sample, Tools
from isthmus.core.data.pack import Encoded, collate, count_tokens, encode_sample
from isthmus.core.data.pairs import EncodedPairs, collate_pairs, count_pair_tokens, encode_pairs


class LanguageModelling(Objective, name="lm"):
    """Cross-entropy of the supervised tokens, summed; its weight is their number."""

    needs: ClassVar[frozenset[str]] = frozenset({"llm"})

    class Config(Objective.Config):
        """Settings of `lm`."""

        rows: PositiveInt = 4096
        """Supervised tokens whose logits are in memory at once. 4,096 of a vocabulary of
        32,000 take half a GiB."""

    config: Config

    def preparer(self, tools: Tools) -> Preparer:
        return PairPreparer(tools) if tools.starts else ConversationPreparer(tools)

    def forward(self, model: Any, batch: Pack | Pairs) -> Loss:
        head = model.llm.head
        learnt = (batch.targets != Pack.IGNORE).nonzero()[:, 0]
        if not len(learnt):
            # Zero, but of every weight, or processes would wait for gradients that never come.
            return Loss(head(model.hidden(batch)[:1]).sum() * 0.0, 0.0)
        # The head alone costs as much as several layers: it sees no other row.
        rows, targets = model.hidden(batch, learnt), batch.targets[learnt]
        if len(targets) <= self.config.rows:
            return Loss(_cross_entropy(head, rows, targets), batch.weight)
        # torch's own linear_cross_entropy (2.13 on) would save the second pass over a chunk's
        # head, but under autocast it computes in fp32, and of bf16 rows it rounds the sum to bf16.
        size = self.config.rows
        chunks = zip(torch.split(rows, size), torch.split(targets, size), strict=True)
        sums = [
            checkpoint(_cross_entropy, head, *chunk, use_reentrant=False, preserve_rng_state=False)
            for chunk in chunks
        ]
        return Loss(torch.stack(sums).sum(), batch.weight)


def _cross_entropy(head: Callable[[Tensor], Tensor], rows: Tensor, targets: Tensor) -> Tensor:
    """(rows dim), (rows) -> sum of the rows' losses, computed in fp32."""
    return F.cross_entropy(head(rows).float(), targets, reduction="sum")


class ConversationPreparer(Preparer):
    """Conversations into packs."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    def length(self, sample: Sample) -> int:
        return count_tokens(sample, self.tools)

    def prepare(self, sample: Sample) -> Encoded:
        return encode_sample(sample, self.tools)

    def collate(self, examples: Sequence[Encoded]) -> Pack:
        return collate(examples)


class PairPreparer(Preparer):
    """Conversations into sources and targets, for an encoder-decoder."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools

    def length(self, sample: Sample) -> int:
        return count_pair_tokens(sample, self.tools)

    def prepare(self, sample: Sample) -> EncodedPairs:
        return encode_pairs(sample, self.tools)

    def collate(self, examples: Sequence[EncodedPairs]) -> Pairs:
        return collate_pairs(examples)


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(LanguageModelling)
