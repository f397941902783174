"""Squares of patches become one visual token each, with all their numbers: nothing is averaged."""

from __future__ import annotations

from collections.abc import Callable

from einops import rearrange
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from isthmus import hookimpl
from isthmus.core.contracts import Connector, Features, Grids
from isthmus.core.model.blocks import perceptron
from isthmus.core.model.maps import over_maps, tokens_of_maps


class PixelShuffle(Connector, name="pixel_shuffle"):
    """Pixel shuffle (Chen et al. 2024, arXiv:2404.16821). (patches dim_in) -> (squares dim_out)

    A norm and an MLP behind it, as InternVL 1.5 has them; class and register tokens are left out.
    """

    class Config(Connector.Config):
        """Configuration of `pixel_shuffle`."""

        factor: PositiveInt = 2
        """Side of a square in patches; a map that it does not divide is filled up with zeros."""

        def num_tokens(self, grids: Grids) -> int:
            return tokens_of_maps(grids, self.squares)

        def squares(self, height: int, width: int) -> int:
            """Of a map of this size, the unfinished ones at its edges too."""
            return -(-height // self.factor) * -(-width // self.factor)

    config: Config

    def __init__(self, config: Config, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        square = dim_in * config.factor**2
        self.norm = nn.LayerNorm(square)
        self.layers = perceptron(square, dim_out, depth=2)

    def forward(self, features: Features) -> Tensor:
        return over_maps(features, self._run)

    def _run(self, maps: Tensor) -> Tensor:
        side = self.config.factor
        _, height, width, _ = maps.shape
        whole = functional.pad(maps, (0, 0, 0, -width % side, 0, -height % side))
        squares = rearrange(whole, "m (h r) (w c) dim -> m (h w) (r c dim)", r=side, c=side)
        tokens: Tensor = self.layers(self.norm(squares))
        return tokens


@hookimpl
def register_connectors(register: Callable[[type], None]) -> None:
    register(PixelShuffle)
