"""Newlines: the token that a connector sets behind every row of patches where an encoder asks.

Without it a language model cannot tell how wide a map is that was cut to its picture's shape. The
token lies in the LLM's embeddings, so it belongs to the connector: with it it is frozen, trained
and saved, and it is set in after the projection, as in LLaVA-NeXT.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from isthmus.core.contracts import AnyConnector, Connector, Encoder, Features, Grid, Grids
from isthmus.errors import PartError

ANY_SIZE = (64, 64)
"""Width and height of a picture: an encoder asks for newlines in all pictures or in none."""


def wants_newline(encoder: Encoder) -> bool:
    """Whether the encoder asks for newlines, so that its connector needs the token."""
    return any(grid.newline for grid in encoder.transform.grids(ANY_SIZE))


class RowConnector(Connector, ABC):
    """A connector that projects each feature by itself, and ends rows where it is asked to.

    `newline` says whether it will be asked: a token that nothing uses would wait for a gradient.
    """

    class Config(Connector.Config):
        """Base of such a connector's configuration."""

        def num_tokens(self, grids: Grids) -> int:
            return sum(grid.num_features + grid.num_newlines for grid in grids)

    newline: nn.Parameter | None

    def __init__(
        self, config: AnyConnector.Config, dim_in: int, dim_out: int, newline: bool = False
    ) -> None:
        super().__init__(config, dim_in, dim_out)
        self.newline = nn.Parameter(torch.randn(dim_out) * dim_out**-0.5) if newline else None

    @abstractmethod
    def project(self, values: Tensor) -> Tensor:
        """(tokens dim_in) -> (tokens dim_out)"""

    def forward(self, features: Features) -> Tensor:
        tokens = self.project(features.values)
        if self.newline is not None:
            return end_rows(tokens, features.grids, self.newline)
        if any(grid.newline for grids in features.grids for grid in grids):
            raise PartError(
                f"connector {self.name}: the encoder asks for a newline behind every row, and it "
                "was built without one; build it with `newline=True`"
            )
        return tokens


def end_rows(tokens: Tensor, grids: tuple[Grids, ...], newline: Tensor) -> Tensor:
    """The tokens of images laid out by `grids`, with `newline` (dim) behind every row of those
    that ask for it. It has a gradient, be it zero, where none does."""
    places: list[Tensor] = []
    start, last = 0, len(tokens)
    for each in grids:
        for grid in each:
            places.append(_places(grid, start, last))
            start += grid.num_features
    index = torch.cat(places).to(tokens.device, non_blocking=True)
    return torch.cat([tokens, newline[None].to(tokens.dtype)]).index_select(0, index)


def _places(grid: Grid, start: int, newline: int) -> Tensor:
    """Numbers of a grid's tokens in order, from `start` on, and of the newline where it stands."""
    numbers = torch.arange(start, start + grid.num_features)
    if not grid.newline:
        return numbers
    frames = numbers.reshape(grid.frames, grid.prefix + grid.height * grid.width)
    rows = frames[:, grid.prefix :].reshape(grid.frames, grid.height, grid.width)
    ends = torch.full((grid.frames, grid.height, 1), newline)
    ended = torch.cat([rows, ends], dim=2).flatten(1)
    return torch.cat([frames[:, : grid.prefix], ended], dim=1).flatten()
