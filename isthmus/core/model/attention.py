"""Causal attention, dense and over a pack, with everything decoder families add to it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional

from isthmus.core.model.layout import Layout

Kernel = Callable[..., Any]
"""Attention over a pack: queries, keys, values (tokens heads dim), where samples begin, twice,
and the longest sample, twice."""


@dataclass(frozen=True)
class Rule:
    """How scores are made: their scale, dropout of weights, whether a token sees only what
    stands before it, how far back it sees (`window` counts itself), and Gemma-2's soft cap."""

    scale: float
    dropout: float = 0.0
    causal: bool = True
    window: int | None = None
    softcap: float | None = None


def dense(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rule: Rule) -> Tensor:
    """(batch heads tokens dim) each -> (batch heads tokens dim).

    Keys and values may have fewer heads, and more tokens: queries are then the last ones.
    `mask` (batch 1 tokens seen), True where a token may look or a number to add, is the whole
    truth when it is there; without one the rule says who sees whom.
    """
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        spread = "b heads t d -> b (heads shared) t d"
        key, value = (repeat(x, spread, shared=shared) for x in (key, value))
    new, seen = query.shape[2], key.shape[2]
    causal = rule.causal and mask is None and new > 1
    narrow = rule.window is not None and rule.window < seen
    if mask is None and (narrow or (causal and (rule.softcap or new != seen))):
        mask, causal = look_back(new, seen, rule, query.device), False
    if rule.softcap is None:
        return functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=rule.dropout,
            is_causal=causal,
            scale=rule.scale,
        )
    scores = query @ key.transpose(-1, -2) * rule.scale
    scores = rule.softcap * torch.tanh(scores / rule.softcap)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    exact = torch.promote_types(scores.dtype, torch.float32)
    weights = scores.softmax(dim=-1, dtype=exact).to(query.dtype)
    return functional.dropout(weights, rule.dropout) @ value


def look_back(new: int, seen: int, rule: Rule, device: torch.device) -> Tensor:
    """(1 1 new seen) True where a token may look; the new ones are the last of those seen."""
    at = torch.arange(seen - new, seen, device=device)[:, None]
    other = torch.arange(seen, device=device)[None]
    allowed = (other <= at) | (not rule.causal)
    if rule.window is not None:
        allowed = allowed & ((at - other).abs() < rule.window)
    return allowed[None, None]


def packed(query: Tensor, key: Tensor, value: Tensor, layout: Layout, rule: Rule) -> Tensor:
    """(tokens heads dim) each -> (tokens heads dim); causal, and no sample sees another."""
    done = fused(query, key, value, layout, layout, rule)
    if done is not None:
        return done
    outputs = []
    for group in layout.groups:
        rows = "rows tokens heads dim -> rows heads tokens dim"
        q, k, v = (rearrange(x[group.index], rows) for x in (query, key, value))
        outputs.append(rearrange(dense(q, k, v, None, rule), "r h t d -> (r t) h d"))
    return torch.cat(outputs).index_select(0, layout.way_back)


def fused(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, seen: Layout, rule: Rule
) -> Tensor | None:
    """By a kernel for variable lengths, where there is one that computes this: queries laid out
    by `layout`, keys and values by `seen`."""
    if not _wanted(query):
        return None
    for kernel in (_torchs(), _flash_attns()):
        how = None if kernel is None else _arguments(kernel, rule)
        if kernel is not None and how is not None:
            return _run(kernel, how, query, key, value, layout, seen, rule)
    return None


@functools.cache
def _torchs() -> Kernel | None:
    """torch's variable-length attention, where this torch has it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


@functools.cache
def _flash_attns() -> Kernel | None:
    """That of the flash-attn package, where it is installed: it knows soft caps and dropout."""
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        return None
    kernel: Kernel = flash_attn_varlen_func
    return kernel


def _wanted(query: Tensor) -> bool:
    """Whether the kernel computes such tensors: half precision, on CUDA, heads of its sizes."""
    if not query.is_cuda or query.dtype not in (torch.bfloat16, torch.float16):
        return False
    dim = query.shape[-1]
    return dim % 8 == 0 and dim <= 256 and torch.cuda.get_device_capability(query.device) >= (8, 0)


def _arguments(kernel: Kernel, rule: Rule) -> dict[str, Any] | None:
    """The rule in the kernel's own words, which changed with versions; None where it cannot
    follow."""
    takes = inspect.signature(kernel).parameters
    how: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in takes else {}
    how |= {"causal": rule.causal} if "causal" in takes else {}
    if not rule.causal:
        if rule.window is not None:
            return None
    elif "window_size" in takes:
        # The kernel does not count the token itself, and reads -1 as without limit.
        how["window_size"] = (rule.window - 1 if rule.window is not None else -1, 0)
    elif rule.window is None:
        how["is_causal"] = True
    else:
        return None
    for name, value in (("softcap", rule.softcap), ("dropout_p", rule.dropout)):
        if value and name not in takes:
            return None
        if value:
            how[name] = value
    return how | {name: rule.scale for name in ("scale", "softmax_scale") if name in takes}


def _run(
    kernel: Kernel,
    how: dict[str, Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    seen: Layout,
    rule: Rule,
) -> Tensor:
    shared = query.shape[1] // key.shape[1]
    if shared > 1 and not how.keys() & {"enable_gqa", "causal"}:  # flash-attn shares by itself
        spread = "tokens heads dim -> tokens (heads shared) dim"
        key, value = (repeat(x, spread, shared=shared) for x in (key, value))
    if not how.keys() & {"scale", "softmax_scale"}:
        query = query * (rule.scale * query.shape[-1] ** 0.5)
    ends = layout.boundaries, seen.boundaries
    attended: Tensor = kernel(query, key, value, *ends, layout.longest, seen.longest, **how)
    return attended
