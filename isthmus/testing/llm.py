"""Does a language model keep its contract (`isthmus.core.contracts.llm`)?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.contracts import LLM, CausalLLM, Segments, Seq2SeqLLM
from isthmus.testing.promises import (
    build,
    check_config,
    check_gradient,
    check_rebuilding,
    close,
    promise,
)
from isthmus.testing.seq2seq import check_seq2seq, draw_pairs, hidden_of

SEGMENTS = Segments((5, 1, 9, 3))
"""Samples of the pack that is tried; a single token is one of them."""


def check_llm(config: LLM.Config, **runtime: Any) -> None:
    """Build the LLM and try every promise on a small pack. Raises ContractBroken.

    `runtime` are the build's arguments: `tokenizer_object`, or `texts` to train one on.
    """
    check_config(config)
    llm: Any = build(config, **runtime).eval()
    _check_vocabulary(llm)

    def make(plan: Any, seed: int) -> Any:
        return build(plan, seed, **{**runtime, "tokenizer_object": llm.tokenizer})

    if isinstance(llm, Seq2SeqLLM):
        check_seq2seq(llm)
        pairs = draw_pairs(llm)
        with torch.no_grad():
            check_rebuilding(llm, lambda part: hidden_of(part, *pairs), make)
        check_gradient(llm, lambda: llm.head(hidden_of(llm, *pairs)))
        return
    promise(isinstance(llm, CausalLLM), "an LLM is a CausalLLM or a Seq2SeqLLM, and this is none")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ids = torch.randint(len(llm.tokenizer), (SEGMENTS.offsets[-1],))
    _check_shapes(llm, ids)
    _check_pack(llm, ids)
    _check_order(llm, ids)
    _check_decode(llm, ids)
    if llm.prefix_attention:
        _check_prefix(llm, ids)
    check_rebuilding(llm, lambda part: _hidden(part, ids), make)
    check_gradient(llm, lambda: llm.head(llm(llm.embed(ids), SEGMENTS)))


@torch.no_grad()
def _hidden(llm: CausalLLM, ids: Tensor) -> Tensor:
    hidden: Tensor = llm(llm.embed(ids), SEGMENTS)
    return hidden


def _check_vocabulary(llm: LLM) -> None:
    name, tokens = type(llm).__qualname__, len(llm.tokenizer)
    promise(bool(llm.tokenizer.is_fast), f"{name}.tokenizer: it must be a fast tokenizer")
    logits = llm.head(torch.zeros(1, llm.dim))
    promise(
        logits.shape[-1] >= tokens,
        f"{name}.head: it speaks {logits.shape[-1]} tokens, the tokenizer {tokens}",
    )


def _check_shapes(llm: CausalLLM, ids: Tensor) -> None:
    name = type(llm).__qualname__
    wanted = (len(ids), llm.dim)
    for what, found in (("embed", llm.embed(ids)), ("forward", _hidden(llm, ids))):
        promise(
            tuple(found.shape) == wanted,
            f"{name}.{what}: (tokens dim) is {wanted} here, not {tuple(found.shape)}",
        )
    layers = llm.decoder_layers
    promise(
        isinstance(layers, nn.ModuleList) and len(layers) > 0,
        f"{name}.decoder_layers: it must be the model's own ModuleList of blocks",
    )


def _check_pack(llm: CausalLLM, ids: Tensor) -> None:
    """Hidden states and gradients of a pack are those of its samples one at a time."""
    name = type(llm).__qualname__
    embeds = llm.embed(ids).detach().requires_grad_()
    direction = torch.linspace(-1, 1, embeds.numel()).reshape(embeds.shape)
    packed = llm(embeds, SEGMENTS)
    (gradient,) = torch.autograd.grad((packed * direction).sum(), embeds)
    samples = torch.split(embeds, list(SEGMENTS.lengths))
    alone = torch.cat([llm(sample, Segments((len(sample),))) for sample in samples])
    (wanted,) = torch.autograd.grad((alone * direction).sum(), embeds)
    close(packed, alone, f"{name}: hidden states in a pack, and of each sample alone")
    close(gradient, wanted, f"{name}: gradients in a pack, and of each sample alone")


def _check_order(llm: CausalLLM, ids: Tensor) -> None:
    """No token sees one that comes after it."""
    changed = ids.clone()
    last = SEGMENTS.offsets[1] - 1
    changed[last] = (changed[last] + 1) % len(llm.tokenizer)
    before, after = _hidden(llm, ids), _hidden(llm, changed)
    kept = torch.arange(len(ids)) != last
    close(after[kept], before[kept], f"{type(llm).__qualname__}: tokens that a later one changed")


@torch.no_grad()
def _check_prefix(llm: CausalLLM, ids: Tensor) -> None:
    """Words of a prefix see all of it, and nothing behind it; those behind it see what is before
    them."""
    name, (length, *_) = type(llm).__qualname__, SEGMENTS.lengths
    segments = Segments(SEGMENTS.lengths, prefixes=tuple(n // 2 for n in SEGMENTS.lengths))
    prefix = length // 2

    def moved(at: int) -> list[int]:
        """Tokens of the first sample that are others when this one is."""
        changed = ids.clone()
        changed[at] = (changed[at] + 1) % len(llm.tokenizer)
        difference = llm(llm.embed(changed), segments) - llm(llm.embed(ids), segments)
        rows: list[int] = (difference.abs().amax(dim=1) > 1e-6).nonzero()[:, 0].tolist()
        return rows

    for at in (prefix - 1, prefix, length - 1):
        wanted = list(range(0 if at < prefix else at, length))
        found = moved(at)
        promise(
            found == wanted,
            f"{name}: with a prefix of {prefix}, token {at} of {length} is seen by tokens "
            f"{wanted}, not {found}",
        )


@torch.no_grad()
def _check_decode(llm: CausalLLM, ids: Tensor) -> None:
    """A left-padded batch, its last token read through the cache, gives what a pack gives."""
    samples = [each for each in torch.split(ids, list(SEGMENTS.lengths)) if len(each) > 1]
    longest = max(len(sample) for sample in samples)
    mask = torch.stack([torch.arange(longest) >= longest - len(sample) for sample in samples])
    batch = llm.embed(torch.zeros(mask.shape, dtype=torch.long))
    batch[mask] = llm.embed(torch.cat(samples))
    first, cache = llm.decode(batch[:, :-1], mask[:, :-1])
    second, _ = llm.decode(batch[:, -1:], mask, cache)
    wanted = torch.cat([llm(llm.embed(each), _asked(llm, each))[-2:] for each in samples])
    found = torch.cat([first[:, -1:], second], dim=1).flatten(0, 1)
    close(found, wanted, f"{type(llm).__qualname__}.decode: hidden states, and those of forward")


def _asked(llm: CausalLLM, sample: Tensor) -> Segments:
    """The sample as generation reads it: all but its last token is the prompt."""
    prefixes = (len(sample) - 1,) if llm.prefix_attention else None
    return Segments((len(sample),), prefixes=prefixes)
