"""One linear layer: the projection W of the first LLaVA."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from isthmus import hookimpl
from isthmus.core.model.newlines import RowConnector


class Linear(RowConnector, name="linear"):
    """The projection W (Liu et al. 2023, arXiv:2304.08485). (tokens dim_in) -> (tokens dim_out)"""

    class Config(RowConnector.Config):
        """Configuration of `linear`."""

        bias: bool = True
        """Whether a learned offset is added."""

    def __init__(self, config: Config, dim_in: int, dim_out: int, newline: bool = False) -> None:
        super().__init__(config, dim_in, dim_out, newline)
        self.projection = nn.Linear(dim_in, dim_out, bias=config.bias)

    def project(self, values: Tensor) -> Tensor:
        projected: Tensor = self.projection(values)
        return projected


@hookimpl
def register_connectors(register: Callable[[type], None]) -> None:
    register(Linear)
