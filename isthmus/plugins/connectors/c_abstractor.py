"""Honeybee's C-Abstractor: convolutions around a pooling, so that neighbours stay neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from einops import rearrange
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from isthmus import hookimpl
from isthmus.core.contracts import Connector, Features, Grids
from isthmus.core.model.blocks import perceptron
from isthmus.core.model.draw import draw_scaled
from isthmus.core.model.maps import over_maps, tokens_of_maps


class CAbstractor(Connector, name="c_abstractor"):
    """C-Abstractor (Cha et al. 2023, arXiv:2312.06742). (patches dim_in) -> (cells dim_out)

    Residual blocks, adaptive average pooling, residual blocks, an MLP; class and register tokens
    are left out.
    """

    class Config(Connector.Config):
        """Configuration of `c_abstractor`."""

        side: PositiveInt = 12
        """A map of patches becomes side x side visual tokens, whatever its size."""
        blocks: PositiveInt = 3
        """Residual blocks before the pooling, and again behind it."""
        dim: PositiveInt = 1024
        """Channels of the blocks."""

        def num_tokens(self, grids: Grids) -> int:
            return tokens_of_maps(grids, lambda height, width: self.side**2)

    config: Config

    def __init__(self, config: Config, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.before = _blocks(config.blocks, dim_in, config.dim)
        self.behind = _blocks(config.blocks, config.dim, config.dim)
        self.layers = perceptron(config.dim, dim_out, depth=2, activation=nn.SiLU)
        draw_scaled(self)

    def forward(self, features: Features) -> Tensor:
        return over_maps(features, self._run)

    def _run(self, maps: Tensor) -> Tensor:
        channels = self.before(rearrange(maps, "maps h w dim -> maps dim h w"))
        pooled = self.behind(functional.adaptive_avg_pool2d(channels, self.config.side))
        tokens: Tensor = self.layers(rearrange(pooled, "maps dim h w -> maps (h w) dim"))
        return tokens


def _blocks(count: int, dim_in: int, dim: int) -> Any:
    """RegNet's bottlenecks with squeeze-and-excitation, normalised over channels."""
    from timm.layers import LayerNorm2d
    from timm.models.regnet import RegStage

    how = {"act_layer": nn.SiLU, "norm_layer": LayerNorm2d}
    return RegStage(count, dim_in, dim, stride=1, dilation=1, **how)


@hookimpl
def register_connectors(register: Callable[[type], None]) -> None:
    register(CAbstractor)
