"""How full a step's packs are, and how much is computed for nothing."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.core.contracts import LLM, Batch, Pack, Pairs
from isthmus.core.model.decoder import Decoder
from isthmus.core.model.encoder_decoder import EncoderDecoder


def filling(batches: Sequence[Batch], llm: LLM | None) -> list[float]:
    """Micro-batches of one process, and the tokens of padding that its LLM computes in them:
    none where it takes packs as they are, else what fills each sample up to the longest."""
    lengths = [own for batch in batches for own in _lengths(batch)] if pads(llm) else []
    return [len(batches), sum(len(own) * max(own) - sum(own) for own in lengths)]


def pads(llm: LLM | None) -> bool:
    """Whether the LLM runs a pack as a padded batch."""
    return isinstance(llm, Decoder | EncoderDecoder) and not llm.ragged


def _lengths(batch: Batch) -> list[tuple[int, ...]]:
    """Of its segments, where it is a pack or pairs."""
    if isinstance(batch, Pairs):
        return [batch.sources.lengths, batch.segments.lengths]
    return [batch.segments.lengths] if isinstance(batch, Pack) else []


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
