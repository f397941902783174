"""Attention and norms as papers write them: plain loops over heads and tokens, in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def linear(rows: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    out = rows @ weights[f"{name}.weight"].T
    return out + weights[f"{name}.bias"] if f"{name}.bias" in weights else out


def norm(rows: Tensor, weights: dict[str, Tensor], name: str, eps: float = 1e-5) -> Tensor:
    centred = rows - rows.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(
    asks: Tensor,
    seen: Tensor,
    weights: dict[str, Tensor],
    name: str,
    heads: int,
    sees: list[list[int]] | None = None,
) -> Tensor:
    """asks (tokens dim), seen (states dim): of each token, by each head, the states that `sees`
    lists, weighted by softmax(q k / sqrt(width of a head)). A token that sees none gets zero."""
    query, key, value = (
        linear(rows, weights, f"{name}.{layer}_proj")
        for rows, layer in ((asks, "q"), (seen, "k"), (seen, "v"))
    )
    width = query.shape[1] // heads
    out = torch.zeros_like(query)
    for token in range(len(asks)):
        states = list(range(len(seen))) if sees is None else sees[token]
        if not states:
            continue
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = key[states][:, part] @ query[token, part] / width**0.5
            out[token, part] = scores.softmax(dim=0) @ value[states][:, part]
    return linear(out, weights, f"{name}.out_proj")


def doubled(module: torch.nn.Module) -> dict[str, Tensor]:
    """Its weights in float64."""
    return {name: weight.double() for name, weight in module.state_dict().items()}
