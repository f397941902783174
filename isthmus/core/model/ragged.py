"""The attention backend of packs, registered in transformers' attention interface.

A model that runs on it takes a pack as one sequence and hands `segments` down to every layer.
They travel as an argument, never in a context: a recomputed checkpoint would read the wrong
one. A call without segments (generation over a left-padded batch) is ordinary dense attention.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from isthmus.core.model.across import Across, across, biased, with_prefix
from isthmus.core.model.attention import Rule, dense, look_back
from isthmus.core.model.layout import Layout
from isthmus.errors import WorkError

BACKEND = "isthmus_ragged"
UNKNOWN = ("s_aux", "cache")
"""What other families hand to attention, which this backend would silently leave out."""


@dataclass(frozen=True)
class Local:
    """Stands where a mask would, in layers that see only `size` tokens back."""

    size: int


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | Local | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    segments: Layout | Across | None = None,
    prefix: Tensor | None = None,
    position_bias: Tensor | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """(batch heads tokens dim) each -> (batch tokens heads dim), and no weights.

    `position_bias` (1 heads tokens tokens) is added to scores, by places in the own sample.
    `prefix` (batch tokens), True where a token sees all that are so marked, goes with a batch;
    a pack's segments know of theirs.

    Raises WorkError when segments come with an attention mask: transformers then drops its own
    separation of samples, and they would silently see each other.
    """
    unknown = [name for name in UNKNOWN if more.get(name) is not None]
    if unknown:
        raise WorkError(f"ragged attention does not compute {', '.join(unknown)}")
    if isinstance(attention_mask, Local):
        if sliding_window != attention_mask.size:
            # Chunks, or a window that the family leaves to the mask alone.
            raise WorkError("ragged attention does not compute this layer's local attention")
        attention_mask = None
    rule = Rule(
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        dropout=dropout,
        causal=bool(getattr(module, "is_causal", True) if is_causal is None else is_causal),
        window=sliding_window,
        softcap=softcap,
    )
    if segments is None:
        mask = _ahead(attention_mask, prefix, query, rule)
        if position_bias is not None:
            if mask is None and rule.causal:
                mask = look_back(query.shape[2], key.shape[2], rule, query.device)
            mask = biased(position_bias, mask, query.dtype)
        seen = dense(query, key, value, mask, rule)
        return rearrange(seen, "batch heads tokens dim -> batch tokens heads dim"), None
    if attention_mask is not None:
        raise WorkError(
            "an attention mask came together with the segments of a pack: its samples would see "
            "each other. Give a pack its segments alone, or a padded batch its mask alone"
        )
    flat = "1 heads tokens dim -> tokens heads dim"
    q, k, v = (rearrange(x, flat).to(_arithmetic(query)) for x in (query, key, value))
    return _over(segments, q, k, v, rule, position_bias)[None], None


def _over(
    segments: Layout | Across, q: Tensor, k: Tensor, v: Tensor, rule: Rule, bias: Tensor | None
) -> Tensor:
    """(tokens heads dim) each -> (tokens heads dim)"""
    own = segments.own if isinstance(segments, Across) else segments
    if rule.causal and bias is None:
        return with_prefix(q, k, v, own, rule)
    looks_out = isinstance(segments, Across) and not rule.causal
    seen = segments.memory if isinstance(segments, Across) and looks_out else own
    if len(q) != own.segments.offsets[-1] or len(k) != seen.segments.offsets[-1]:
        raise WorkError("a layer of this model looks at other tokens than its pack's segments say")
    return across(q, k, v, own, seen, rule, bias)


def _ahead(mask: Tensor | None, prefix: Tensor | None, query: Tensor, rule: Rule) -> Tensor | None:
    """The mask of a batch whose prefixes look both ways."""
    if prefix is None:
        return mask
    if mask is None:
        mask = look_back(query.shape[2], query.shape[2], rule, query.device)
    both = (prefix[:, :, None] & prefix[:, None])[:, None]
    if mask.dtype != torch.bool:
        return mask.masked_fill(both, 0.0)
    return mask | both


def _arithmetic(query: Tensor) -> torch.dtype:
    """Autocast's dtype where it is on. Rotary embeddings leave queries and keys in fp32 beside
    values in half precision, and kernels called by hand are not cast for."""
    device = query.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype


@functools.cache
def register() -> str:
    """Make the backend known to transformers; its name."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    def mask(
        *args: Any,
        attention_mask: Tensor | None = None,
        local_size: int | None = None,
        **kwargs: Any,
    ) -> Tensor | Local | None:
        """None for a pack, whose segments say it all; dense for a padded batch, and for one
        whose cache was filled before (without a mask, left-padded generation is wrong)."""
        if attention_mask is None and not kwargs.get("q_offset"):
            return None if local_size is None else Local(local_size)
        return sdpa_mask(*args, attention_mask=attention_mask, local_size=local_size, **kwargs)

    AttentionInterface.register(BACKEND, attention)
    AttentionMaskInterface.register(BACKEND, mask)
    return BACKEND


@functools.cache
def stay_out_of_graphs() -> None:
    """Keep this backend out of what `torch.compile` compiles."""
    from transformers import AttentionInterface

    disable: Any = torch.compiler.disable
    AttentionInterface.register(register(), disable(attention))
