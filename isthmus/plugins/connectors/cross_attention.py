"""One block of cross-attention with learned queries: the least that gathers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus import hookimpl
from isthmus.core.contracts import ConnectorText, Features, Grids, QueryConnector
from isthmus.core.model.blocks import FeedForward, MultiHead, batched
from isthmus.core.model.draw import draw_scaled

WIDER = 4
"""How much wider the inside of the feed-forward layer is."""


class CrossAttention(QueryConnector, name="cross_attention"):
    """A look (Bai et al. 2023, arXiv:2308.12966). (features dim_in) -> (queries dim_out)

    Learned queries, attention and a feed-forward layer, as Qwen-VL's adapter looks once.
    """

    class Config(QueryConnector.Config):
        """Configuration of `cross_attention`."""

        queries: PositiveInt = 64
        """Learned queries: the visual tokens of an image, whatever its size."""
        heads: PositiveInt = 8
        """Attention heads."""
        head_dim: PositiveInt = 64
        """Width of a head."""

        def num_tokens(self, grids: Grids) -> int:
            return self.queries

    config: Config

    def __init__(self, config: Config, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.queries = nn.Parameter(torch.randn(config.queries, dim_in))
        self.queries_norm = nn.LayerNorm(dim_in)
        self.features_norm = nn.LayerNorm(dim_in)
        self.attention = MultiHead(dim_in, dim_in, config.heads, config.head_dim)
        self.mlp_norm = nn.LayerNorm(dim_in)
        self.mlp = FeedForward(dim_in, WIDER * dim_in)
        self.norm = nn.LayerNorm(dim_in)
        self.projection = nn.Linear(dim_in, dim_out)
        draw_scaled(self)

    def forward(self, features: Features, text: ConnectorText | None = None) -> Tensor:
        values, mask = batched(features)
        queries = self.queries.expand(len(values), -1, -1)
        seen = self.features_norm(values)
        looks = None if mask is None else mask[:, None, None]
        queries = queries + self.attention(self.queries_norm(queries), seen, looks)
        queries = queries + self.mlp(self.mlp_norm(queries))
        found = self.projection(self.norm(queries))
        return rearrange(found, "images queries dim -> (images queries) dim")


@hookimpl
def register_connectors(register: Callable[[type], None]) -> None:
    register(CrossAttention)
