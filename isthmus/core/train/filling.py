"""How full a step's packs are, and how much is computed for nothing."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.core.contracts import LLM, Batch, Pack
from isthmus.core.model.decoder import Decoder


def filling(batches: Sequence[Batch], llm: LLM | None) -> list[float]:
    """Micro-batches of one process, and the tokens of padding that its LLM computes in them:
    none where it takes packs as they are, else what fills each sample up to the longest."""
    padded = isinstance(llm, Decoder) and not llm.ragged
    lengths = [batch.segments.lengths for batch in batches if padded and isinstance(batch, Pack)]
    return [len(batches), sum(len(own) * max(own) - sum(own) for own in lengths)]


def filling_metrics(
    tokens: float, packs: float, padding: float, capacity: int | None
) -> dict[str, float]:
    """`padding` is its share of all tokens computed; where packs have a capacity, `packs` is
    their number and `packing` the share of their room that real tokens take. All counts are
    over all processes."""
    metrics = {"padding": padding / max(1.0, tokens + padding)}
    if capacity:
        metrics |= {"packs": packs, "packing": tokens / max(1.0, packs * capacity)}
    return metrics
