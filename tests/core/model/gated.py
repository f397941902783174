"""The least connector that enters an LLM by its layers, for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from isthmus.core.contracts import (
    VISUAL_SEEN,
    VISUAL_STATES,
    CrossAttentionConnector,
    CrossAttentionStates,
    Features,
)


class Gated(CrossAttentionConnector, name="gated"):
    """Adds the gated sum of the images that stand before a token."""

    def __init__(self, config: Any, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.project = nn.Linear(dim_in, dim_out)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, features: Features) -> CrossAttentionStates:
        values, mask = features.padded()
        return CrossAttentionStates(self.project(values), mask)

    def attach(self, llm: Any) -> list[Any]:
        def look(layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            states, seen = kwargs.pop(VISUAL_STATES, None), kwargs.pop(VISUAL_SEEN, None)
            if states is None:
                return args, kwargs
            shown = seen.to(states.values.dtype) @ states.values.mean(1)
            return (args[0] + torch.tanh(self.gate) * shown, *args[1:]), kwargs

        layers = llm.decoder_layers
        return [layer.register_forward_pre_hook(look, with_kwargs=True) for layer in layers]
