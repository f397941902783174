"""Attention both ways over a pack: in encoders, from a decoder to its memory, over prefixes.

Queries and keys have segments of their own, and sample i looks at sample i.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from isthmus.core.model.attention import Rule, dense, fused, look_back, packed
from isthmus.core.model.layout import Layout


@dataclass(frozen=True)
class Across:
    """Stands where a pack's layout would, in the layers of a decoder with a memory: causal
    attention is among its `own` segments, any other looks from them at those of the `memory`."""

    own: Layout
    memory: Layout


def across(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    seen: Layout,
    rule: Rule,
    bias: Tensor | None = None,
) -> Tensor:
    """query (tokens heads dim), by `layout`; key and value (seen heads dim), by `seen`;
    -> (tokens heads dim).

    `bias` (1 heads tokens seen) is added to scores, by places in the sample, not in the pack; it
    has at least as many as the longest sample, or one for all.
    """
    if bias is None:
        done = fused(query, key, value, layout, seen, rule)
        if done is not None:
            return done
    outputs = []
    for asking in layout.groups:
        asked = seen.group(asking.samples)
        rows = "rows tokens heads dim -> rows heads tokens dim"
        q = rearrange(query[asking.index], rows)
        k, v = (rearrange(x[asked.index], rows) for x in (key, value))
        mask = None if asked.real is None else asked.real[:, None, None]
        narrow = rule.causal or rule.window is not None
        if narrow and (mask is not None or bias is not None):
            back = look_back(q.shape[2], k.shape[2], rule, q.device)
            mask = back if mask is None else back & mask
        if bias is not None:
            mask = biased(bias[..., : q.shape[2], : k.shape[2]], mask, q.dtype)
        outputs.append(rearrange(dense(q, k, v, mask, rule), "r h t d -> (r t) h d"))
    return torch.cat(outputs).index_select(0, layout.way_back)


def biased(bias: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """What is added to scores: a bias where the mask lets a token look, and the least number
    elsewhere."""
    bias = bias.to(dtype)
    if mask is None:
        return bias
    if mask.dtype == torch.bool:
        return bias.masked_fill(~mask, torch.finfo(dtype).min)
    return bias + mask


def with_prefix(query: Tensor, key: Tensor, value: Tensor, layout: Layout, rule: Rule) -> Tensor:
    """Causal attention over a pack, but that tokens of a prefix see all of it, however far back
    the layer looks. (tokens heads dim) each -> (tokens heads dim)

    A prefix stands first in its sample and sees nothing behind it: it is computed by itself.
    """
    seen = packed(query, key, value, layout, rule)
    if layout.prefix is None:
        return seen
    rows, own = layout.prefix
    q, k, v = (x.index_select(0, rows) for x in (query, key, value))
    ahead = across(q, k, v, own, own, replace(rule, causal=False, window=None))
    return seen.index_copy(0, rows, ahead)
