"""Flamingo's Perceiver resampler: a fixed number of visual tokens out of any picture or video."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus import hookimpl
from isthmus.core.contracts import ConnectorText, Features, Grids, QueryConnector
from isthmus.core.model.blocks import FeedForward, MultiHead, batched, squared_relu
from isthmus.core.model.draw import draw_scaled
from isthmus.errors import PartError

WIDER = 4
"""How much wider the inside of a feed-forward layer is."""


class Resampler(QueryConnector, name="resampler"):
    """Resampler (Alayrac et al. 2022, arXiv:2204.14198). (features dim_in) -> (queries dim_out)

    Queries look, layer by layer, at the features of their image and at each other.
    """

    class Config(QueryConnector.Config):
        """Configuration of `resampler`."""

        queries: PositiveInt = 64
        """Learned queries: the visual tokens of an image or a video, whatever its size."""
        layers: PositiveInt = 6
        """Layers, each of which looks once more."""
        heads: PositiveInt = 8
        """Attention heads."""
        head_dim: PositiveInt = 64
        """Width of a head."""
        frames: PositiveInt | None = None
        """Frames of a video that are told apart, by a learned vector each, at most; absent, their
        order is not seen."""

        def num_tokens(self, grids: Grids) -> int:
            longest = max((grid.frames for grid in grids), default=1)
            if self.frames is not None and longest > self.frames:
                raise PartError(
                    f"connector resampler: a video of {longest} frames, and this resampler tells "
                    f"{self.frames} apart; write `frames: {longest}`, or sample fewer frames"
                )
            return self.queries

    config: Config

    def __init__(self, config: Config, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.queries = nn.Parameter(torch.randn(config.queries, dim_in))
        self.times: nn.Parameter | None = None
        if config.frames is not None:
            self.times = nn.Parameter(torch.randn(config.frames, dim_in))
        self.layers = nn.ModuleList(
            Layer(dim_in, config.heads, config.head_dim) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(dim_in)
        self.projection = nn.Linear(dim_in, dim_out)
        draw_scaled(self)

    def forward(self, features: Features, text: ConnectorText | None = None) -> Tensor:
        values, mask = batched(self._dated(features))
        queries = self.queries.expand(len(values), -1, -1)
        if mask is not None:
            # Behind the features, which may be padding, come the queries themselves.
            mask = torch.cat([mask, mask.new_ones(queries.shape[:2])], dim=1)[:, None, None]
        for layer in self.layers:
            queries = layer(queries, values, mask)
        found = self.projection(self.norm(queries))
        return rearrange(found, "images queries dim -> (images queries) dim")

    def _dated(self, features: Features) -> Features:
        """Features of a frame with its vector added."""
        if self.times is None:
            return features
        frames = [
            torch.arange(grid.frames).repeat_interleave(grid.num_features // grid.frames)
            for grids in features.grids
            for grid in grids
        ]
        times = self.times[torch.cat(frames).to(self.times.device)]
        return Features(features.values + times, features.grids)


class Layer(nn.Module):
    """Queries look, then think."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.features_norm = nn.LayerNorm(dim)
        self.attention = MultiHead(dim, dim, heads, head_dim, bias=False)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, WIDER * dim, squared_relu, bias=False)

    def forward(self, queries: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """queries (images queries dim), values (images features dim) -> queries."""
        asks = self.attention_norm(queries)
        seen = torch.cat([self.features_norm(values), asks], dim=1)
        queries = queries + self.attention(asks, seen, mask)
        thought: Tensor = queries + self.mlp(self.mlp_norm(queries))
        return thought


@hookimpl
def register_connectors(register: Callable[[type], None]) -> None:
    register(Resampler)
