"""Small parts that keep every promise, for others to break one of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.contracts import (
    VISUAL_SEEN,
    VISUAL_STATES,
    Connector,
    ConnectorText,
    CrossAttentionConnector,
    CrossAttentionStates,
    Encoder,
    Features,
    Grid,
    Images,
    QueryConnector,
)
from isthmus.core.model.transform import FitTransform
from isthmus.testing import tiny_tokenizer


class Patches(Encoder, name="patches"):
    """An honest encoder: one linear layer over patches."""

    class Config(Encoder.Config):
        """Configuration of `patches`."""

        dim: int = 12
        """Width of a feature."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim
        self.patches = nn.Conv2d(3, config.dim, kernel_size=8, stride=8)
        self.transform = FitTransform((32, 32), Grid(4, 4), "resize")

    def forward(self, images: Images) -> Features:
        found = self.patches(images.pixels / 255).flatten(2).transpose(1, 2)
        return Features(found.flatten(0, 1), images.grids)


class Project(Connector, name="project"):
    """An honest connector: one linear layer."""

    def __init__(self, config: Connector.Config, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.layer = nn.Linear(dim_in, dim_out)

    def forward(self, features: Features) -> Tensor:
        return self.layer(features.values)


class Gate(CrossAttentionConnector, name="gate"):
    """An honest cross-attention connector: adds the gated mean of the images before a token."""

    start = 0.0

    def __init__(self, config: Any, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.layer = nn.Linear(dim_in, dim_out)
        self.gate = nn.Parameter(torch.full((1,), self.start))

    def forward(self, features: Features) -> CrossAttentionStates:
        values, mask = features.padded()
        return CrossAttentionStates(self.layer(values), mask)

    def attach(self, llm: Any) -> list[Any]:
        def look(layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            states, seen = kwargs.pop(VISUAL_STATES, None), kwargs.pop(VISUAL_SEEN, None)
            if states is None:
                return args, kwargs
            return (args[0] + self.gate * self.mean(states.values, seen), *args[1:]), kwargs

        layers = llm.decoder_layers
        return [layer.register_forward_pre_hook(look, with_kwargs=True) for layer in layers]

    def mean(self, values: Tensor, seen: Tensor) -> Tensor:
        return seen.to(values.dtype) @ values.mean(1) / seen.sum(-1, keepdim=True).clamp(min=1)


class Reader(QueryConnector, name="reader"):
    """An honest connector that reads: as many words as came with an image, on its features."""

    def __init__(self, config: Any, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.layer = nn.Linear(dim_in, dim_out)
        self.tokenizer = tiny_tokenizer()

    def forward(self, features: Features, text: ConnectorText | None = None) -> Tensor:
        seen = self.layer(features.values)
        if text is None:
            return seen
        return seen + self.count(text).repeat_interleave(torch.tensor(features.counts))[:, None]

    def count(self, text: ConnectorText) -> Tensor:
        return text.mask.sum(dim=1)
