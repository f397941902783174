"""Does a text encoder keep its contract (`isthmus.core.contracts.text_encoder`)?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isthmus.core.contracts import TextEncoder
from isthmus.testing.promises import (
    build,
    check_config,
    check_gradient,
    check_rebuilding,
    close,
    promise,
)

LENGTHS = (7, 3, 5)
"""Tokens of the texts that it reads."""


def check_text_encoder(config: TextEncoder.Config, **runtime: Any) -> None:
    """Build the text encoder and try every promise on three texts. Raises ContractBroken.

    `runtime` are the build's arguments: `tokenizer_object`, or `texts` to train one on.
    """
    check_config(config)
    encoder: TextEncoder = build(config, **runtime).eval()
    name = type(encoder).__qualname__
    promise(bool(encoder.tokenizer.is_fast), f"{name}.tokenizer: it must be a fast tokenizer")
    promise(
        encoder.tokenizer.model_max_length >= max(LENGTHS),
        f"{name}.tokenizer: model_max_length is {encoder.tokenizer.model_max_length}, too few "
        "tokens to try it on",
    )
    ids, mask = _texts(len(encoder.tokenizer))
    with torch.no_grad():
        hidden, whole = encoder(ids, mask), encoder.pooled(ids, mask)
    shapes = (*ids.shape, encoder.dim), (len(ids), encoder.pooled_dim)
    for what, found, wanted in zip(("forward", "pooled"), (hidden, whole), shapes, strict=True):
        promise(
            tuple(found.shape) == wanted,
            f"{name}.{what}: its shape is {tuple(found.shape)} instead of {wanted}",
        )
    _check_alone(encoder, ids, mask)

    def make(plan: Any, seed: int) -> Any:
        return build(plan, seed, **{**runtime, "tokenizer_object": encoder.tokenizer})

    check_rebuilding(encoder, lambda part: _whole(part, ids, mask), make)
    check_gradient(encoder, lambda: encoder.pooled(ids, mask))


def _texts(tokens: int) -> tuple[Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ids = torch.randint(3, tokens, (len(LENGTHS), max(LENGTHS)))
    return ids, torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]


@torch.no_grad()
def _whole(encoder: TextEncoder, ids: Tensor, mask: Tensor) -> Tensor:
    return encoder.pooled(ids, mask)


@torch.no_grad()
def _check_alone(encoder: TextEncoder, ids: Tensor, mask: Tensor) -> None:
    """Padding, and what stands in it, changes nothing."""
    name = type(encoder).__qualname__
    junk = torch.where(mask, ids, 1)
    hidden, whole = encoder(junk, mask), encoder.pooled(junk, mask)
    for row, length in enumerate(LENGTHS):
        own, real = ids[row : row + 1, :length], mask[row : row + 1, :length]
        what = f"{name}: a text of {length} tokens alone, and beside longer ones"
        close(encoder(own, real)[0], hidden[row, :length], f"{what}: hidden states")
        close(encoder.pooled(own, real)[0], whole[row], f"{what}: the whole text")
