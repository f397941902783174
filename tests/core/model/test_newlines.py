"""Where the token stands that ends a row, counted by hand."""

from __future__ import annotations

import pytest
import torch

from isthmus.core.contracts import Features, Grid
from isthmus.core.model.newlines import end_rows
from isthmus.errors import PartError
from isthmus.plugins.connectors.linear import Linear
from isthmus.plugins.connectors.mlp import Mlp
from isthmus.testing import check_connector

ROWS = Grid(2, 3, newline=True)


def ended(*grids: tuple[Grid, ...]) -> list[int]:
    """Tokens numbered from 0, with -1 where a newline stands."""
    count = sum(grid.num_features for each in grids for grid in each)
    tokens = torch.arange(count, dtype=torch.float32)[:, None]
    return end_rows(tokens, grids, torch.tensor([-1.0]))[:, 0].int().tolist()


def test_every_row_of_a_grid_that_asks_ends_with_it() -> None:
    assert ended((Grid(1, 2), ROWS)) == [0, 1, 2, 3, 4, -1, 5, 6, 7, -1]
    assert ended((ROWS,), (Grid(1, 1),), (Grid(1, 1, newline=True),)) == [
        *(0, 1, 2, -1, 3, 4, 5, -1),
        *(6, 7, -1),
    ]


def test_what_stands_before_patches_is_no_row_and_every_frame_has_its_own() -> None:
    grid = Grid(1, 2, prefix=1, frames=2, newline=True)
    assert ended((grid,)) == [0, 1, 2, -1, 3, 4, 5, -1]
    assert grid.num_newlines == 2


def test_an_empty_map_has_no_row_and_the_token_still_a_gradient() -> None:
    newline = torch.ones(1, requires_grad=True)
    grids = ((Grid(1, 1), Grid(0, 4, newline=True)),)
    end_rows(torch.ones(1, 1), grids, newline).sum().backward()
    assert newline.grad.tolist() == [0.0]
    wide = Grid(2, 0, newline=True)
    assert ended((wide,)) == [-1, -1]


@pytest.mark.parametrize("config", [Linear.Config(), Mlp.Config()])
def test_connectors_conform_with_it(config) -> None:
    grids = ((Grid(4, 4), ROWS), (Grid(4, 4), Grid(1, 5, newline=True)), (Grid(4, 4),))
    check_connector(config, grids=grids, newline=True)
    check_connector(config)


def test_a_connector_built_without_it_says_so() -> None:
    connector = Linear.Config().build(dim_in=2, dim_out=2)
    with pytest.raises(PartError, match="build it with `newline=True`"):
        connector(Features(torch.zeros(6, 2), ((ROWS,),)))
