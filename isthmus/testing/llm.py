"""Does a causal language model keep its contract (`isthmus.core.contracts.llm`)?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.contracts import LLM, CausalLLM, Segments
from isthmus.testing.promises import (
    build,
    check_config,
    check_gradient,
    check_rebuilding,
    close,
    promise,
)

SEGMENTS = Segments((5, 1, 9, 3))
"""Samples of the pack that is tried; a single token is one of them."""


def check_llm(config: LLM.Config, **runtime: Any) -> None:
    """Build the LLM and try every promise on a small pack. Raises ContractBroken.

    `runtime` are the build's arguments: `tokenizer_object`, or `texts` to train one on.
    """
    check_config(config)
    llm: Any = build(config, **runtime).eval()
    promise(isinstance(llm, CausalLLM), "check_llm tries causal models, and this is none")
    _check_vocabulary(llm)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ids = torch.randint(len(llm.tokenizer), (SEGMENTS.offsets[-1],))
    _check_shapes(llm, ids)
    _check_pack(llm, ids)
    _check_order(llm, ids)
    _check_decode(llm, ids)

    def make(plan: Any, seed: int) -> Any:
        return build(plan, seed, **{**runtime, "tokenizer_object": llm.tokenizer})

    check_rebuilding(llm, lambda part: _hidden(part, ids), make)
    check_gradient(llm, lambda: llm.head(llm(llm.embed(ids), SEGMENTS)))


@torch.no_grad()
def _hidden(llm: CausalLLM, ids: Tensor) -> Tensor:
    hidden: Tensor = llm(llm.embed(ids), SEGMENTS)
    return hidden


def _check_vocabulary(llm: CausalLLM) -> None:
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
def _check_decode(llm: CausalLLM, ids: Tensor) -> None:
    """A left-padded batch, its last token read through the cache, gives what a pack gives."""
    samples = [each for each in torch.split(ids, list(SEGMENTS.lengths)) if len(each) > 1]
    longest = max(len(sample) for sample in samples)
    mask = torch.stack([torch.arange(longest) >= longest - len(sample) for sample in samples])
    batch = llm.embed(torch.zeros(mask.shape, dtype=torch.long))
    batch[mask] = llm.embed(torch.cat(samples))
    first, cache = llm.decode(batch[:, :-1], mask[:, :-1])
    second, _ = llm.decode(batch[:, -1:], mask, cache)
    wanted = torch.cat(
        [llm(llm.embed(sample), Segments((len(sample),)))[-2:] for sample in samples]
    )
    found = torch.cat([first[:, -1:], second], dim=1).flatten(0, 1)
    close(found, wanted, f"{type(llm).__qualname__}.decode: hidden states, and those of forward")
