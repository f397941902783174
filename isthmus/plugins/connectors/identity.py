"""No connector at all: the encoder already speaks the LLM's width."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from isthmus import hookimpl
from isthmus.core.contracts import Connector, Features
from isthmus.errors import PartError


class Identity(Connector, name="identity"):
    """Gives features on as they are. (tokens dim) -> (tokens dim)"""

    class Config(Connector.Config):
        """Configuration of `identity`."""

    def __init__(self, config: Config, dim_in: int, dim_out: int, newline: bool = False) -> None:
        super().__init__(config, dim_in, dim_out)
        if dim_in != dim_out:
            raise PartError(
                f"connector identity: the encoder's features are {dim_in} wide and the LLM's "
                f"embeddings {dim_out}; only equal widths need no projection. Try `linear` or `mlp`"
            )
        if newline:
            raise PartError(
                "connector identity: the encoder asks for a newline behind every row, and there "
                "is none without a weight. Write `newline: false` there, or take `linear` or `mlp`"
            )

    def forward(self, features: Features) -> Tensor:
        return features.values


@hookimpl
def register_connectors(register: Callable[[type], None]) -> None:
    register(Identity)
