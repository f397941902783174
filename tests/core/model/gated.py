"""Gated cross-attention between the tiny parts, its gates open, for tests of what is around it."""

from __future__ import annotations

from typing import Any

import torch

from isthmus.plugins.connectors.gated_cross_attention import GatedCrossAttention


def gated(opened: float = 0.0, **fields: Any) -> GatedCrossAttention:
    """Before both layers of the tiny LLM; what a token has seen is let in so far, and nothing
    else is added to it."""
    config = GatedCrossAttention.Config(every=1, **fields)
    torch.manual_seed(0)
    made: GatedCrossAttention = config.build(dim_in=24, dim_out=32, llm_layers=2)
    open_gates(made, opened)
    return made


@torch.no_grad()
def open_gates(connector: GatedCrossAttention, opened: float) -> None:
    for block in connector.blocks:
        block.attention_gate.fill_(opened)
