"""Cross-entropy of the tokens that are to be learnt, by the model's LLM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from isthmus.core.contracts import Loss, Pack, Pairs


def next_token_loss(model: Any, batch: Pack | Pairs, size: int) -> Loss:
    """Summed over the supervised tokens; their number is its weight. Logits of `size` of them are
    in memory at once."""
    head = model.llm.head
    learnt = (batch.targets != Pack.IGNORE).nonzero()[:, 0]
    if not len(learnt):
        # Zero, but of every weight, or processes would wait for gradients that never come.
        return Loss(head(model.hidden(batch)[:1]).sum() * 0.0, 0.0)
    # The head alone costs as much as several layers: it sees no other row.
    rows, targets = model.hidden(batch, learnt), batch.targets[learnt]
    if len(targets) <= size:
        return Loss(_cross_entropy(head, rows, targets), batch.weight)
    # torch's own linear_cross_entropy (2.13 on) would save the second pass over a chunk's
    # head, but under autocast it computes in fp32, and of bf16 rows it rounds the sum to bf16.
    chunks = zip(torch.split(rows, size), torch.split(targets, size), strict=True)
    sums = [
        checkpoint(_cross_entropy, head, *chunk, use_reentrant=False, preserve_rng_state=False)
        for chunk in chunks
    ]
    return Loss(torch.stack(sums).sum(), batch.weight)


def _cross_entropy(head: Callable[[Tensor], Tensor], rows: Tensor, targets: Tensor) -> Tensor:
    """(rows dim), (rows) -> sum of the rows' losses, computed in fp32."""
    return F.cross_entropy(head(rows).float(), targets, reduction="sum")
