"""A stack of linear layers with GELU between them: the connector of LLaVA-1.5."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field
from torch import Tensor

from isthmus import hookimpl
from isthmus.core.model.blocks import perceptron
from isthmus.core.model.newlines import RowConnector


class Mlp(RowConnector, name="mlp"):
    """Two-layer MLP (Liu et al. 2023, arXiv:2310.03744). (tokens dim_in) -> (tokens dim_out)"""

    class Config(RowConnector.Config):
        """Configuration of `mlp`."""

        depth: int = Field(default=2, ge=1)
        """Number of linear layers."""

    def __init__(self, config: Config, dim_in: int, dim_out: int, newline: bool = False) -> None:
        super().__init__(config, dim_in, dim_out, newline)
        self.layers = perceptron(dim_in, dim_out, config.depth)

    def project(self, values: Tensor) -> Tensor:
        projected: Tensor = self.layers(values)
        return projected


@hookimpl
def register_connectors(register: Callable[[type], None]) -> None:
    register(Mlp)
