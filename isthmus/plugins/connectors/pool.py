"""Average patches that lie together, then project: fewer visual tokens, and nothing to learn but
the projection."""

from __future__ import annotations

from collections.abc import Callable

from einops import rearrange
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional

from isthmus import hookimpl
from isthmus.core.contracts import Connector, Features, Grids
from isthmus.core.model.blocks import perceptron
from isthmus.core.model.maps import over_maps, tokens_of_maps


class Pool(Connector, name="pool"):
    """Average pooling (Yao et al. 2024, arXiv:2405.20985). (patches dim_in) -> (cells dim_out)

    Adaptive, with an MLP behind it (DeCo); class and register tokens are left out.
    """

    class Config(Connector.Config):
        """Configuration of `pool`."""

        side: PositiveInt = 12
        """A map of patches becomes side x side visual tokens, whatever its size."""
        depth: PositiveInt = 2
        """Linear layers behind it, with GELU between them."""

        def num_tokens(self, grids: Grids) -> int:
            return tokens_of_maps(grids, lambda height, width: self.side**2)

    config: Config

    def __init__(self, config: Config, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.layers = perceptron(dim_in, dim_out, config.depth)

    def forward(self, features: Features) -> Tensor:
        return over_maps(features, self._run)

    def _run(self, maps: Tensor) -> Tensor:
        channels = rearrange(maps, "maps h w dim -> maps dim h w")
        pooled = functional.adaptive_avg_pool2d(channels, self.config.side)
        tokens: Tensor = self.layers(rearrange(pooled, "maps dim h w -> maps (h w) dim"))
        return tokens


@hookimpl
def register_connectors(register: Callable[[type], None]) -> None:
    register(Pool)
