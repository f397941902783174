"""Connectors that see features as a map, beside transformers' InternVL and formulas written out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.internvl.modeling_internvl import (
    InternVLModel,
    InternVLMultiModalProjector,
)

from isthmus.core.contracts import Features, Grid, Grids
from isthmus.plugins.connectors.c_abstractor import CAbstractor
from isthmus.plugins.connectors.pixel_shuffle import PixelShuffle
from isthmus.plugins.connectors.pool import Pool
from tests.oracles import shifted


def features(*images: Grids) -> Features:
    count = sum(grid.num_features for grids in images for grid in grids)
    return Features(torch.randn(count, 12, generator=torch.Generator().manual_seed(0)), images)


def maps(seen: Features) -> list[Tensor]:
    """(high wide dim) of every map, cut out row by row."""
    found, at = [], 0
    for grid in (grid for grids in seen.grids for grid in grids):
        for _ in range(grid.frames):
            at += grid.prefix
            size = grid.height * grid.width
            found.append(seen.values[at : at + size].reshape(grid.height, grid.width, 12))
            at += size
    return found


MIXED = features(
    (Grid(4, 4, prefix=1),),
    (Grid(3, 5), Grid(4, 4)),
    (Grid(2, 7, prefix=2, frames=2),),
    (Grid(1, 1),),
)


def test_pixel_shuffle_is_internvls() -> None:
    seen = features((Grid(4, 4),), (Grid(4, 4),))
    part = PixelShuffle.Config().build(dim_in=12, dim_out=20)
    shape: Any = SimpleNamespace(
        vision_config=SimpleNamespace(hidden_size=12),
        text_config=SimpleNamespace(hidden_size=20),
        downsample_ratio=0.5,
        projector_hidden_act="gelu",
    )
    projector = InternVLMultiModalProjector(shape)
    for ours, theirs in (
        (part.norm, projector.layer_norm),
        (part.layers[0], projector.linear_1),
        (part.layers[2], projector.linear_2),
    ):
        theirs.load_state_dict(ours.state_dict())
    squares = InternVLModel.pixel_shuffle(None, seen.values.reshape(2, 4, 4, 12), 0.5)
    wanted = projector(squares.reshape(2, 4, 48))
    torch.testing.assert_close(part(seen), wanted.flatten(0, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_pixel_shuffle_fills_unfinished_squares_with_zeros(factor: int) -> None:
    part = PixelShuffle.Config(factor=factor).build(dim_in=12, dim_out=20)
    rows = []
    for each in maps(MIXED):
        high, wide, _ = each.shape
        for top in range(0, high, factor):
            for left in range(0, wide, factor):
                square = torch.zeros(factor, factor, 12)
                piece = each[top : top + factor, left : left + factor]
                square[: piece.shape[0], : piece.shape[1]] = piece
                rows.append(square.flatten())
    torch.testing.assert_close(part(MIXED), part.layers(part.norm(torch.stack(rows))))


@pytest.mark.parametrize(
    ("grids", "tokens"),
    [((Grid(24, 24),), 144), ((Grid(7, 5, prefix=1),), 12), ((Grid(2, 2), Grid(3, 1)), 3)],
)
def test_pixel_shuffle_promises_a_place_for_every_square(grids: Grids, tokens: int) -> None:
    assert PixelShuffle.Config().num_tokens(grids) == tokens


@pytest.mark.parametrize("side", [1, 2, 3, 9])
def test_pool_averages_what_lies_in_each_of_its_cells(side: int) -> None:
    part = Pool.Config(side=side).build(dim_in=12, dim_out=20)
    rows = []
    for each in maps(MIXED):
        high, wide, _ = each.shape
        for row in range(side):
            for column in range(side):
                # A cell reaches from the rounded-down to the rounded-up edge.
                top, bottom = row * high // side, -(-(row + 1) * high // side)
                left, right = column * wide // side, -(-(column + 1) * wide // side)
                rows.append(each[top:bottom, left:right].mean(dim=(0, 1)))
    assert len(rows) == sum(part.config.num_tokens(grids) for grids in MIXED.grids)
    torch.testing.assert_close(part(MIXED), part.layers(torch.stack(rows)))


def test_a_video_takes_places_for_every_frame() -> None:
    video = (Grid(4, 4, frames=3),)
    assert Pool.Config(side=2).num_tokens(video) == 12
    assert CAbstractor.Config(side=2).num_tokens(video) == 12
    assert PixelShuffle.Config().num_tokens(video) == 12


def bottleneck(x: Tensor, weights: dict[str, Tensor], at: str) -> Tensor:
    """RegNet's block (Radosavovic et al. 2020) as Honeybee has it: 1x1, 3x3 of each channel by
    itself, squeeze and excite, 1x1, a shortcut; SiLU, and norms over channels."""

    def convolved(x: Tensor, name: str, **how: Any) -> Tensor:
        x = functional.conv2d(x, weights[f"{at}.{name}.conv.weight"], **how)
        rows = functional.layer_norm(
            x.permute(0, 2, 3, 1),
            x.shape[1:2],
            weights[f"{at}.{name}.bn.weight"],
            weights[f"{at}.{name}.bn.bias"],
            eps=1e-5,
        )
        return rows.permute(0, 3, 1, 2)

    def squeezed(x: Tensor, name: str) -> Tensor:
        weight, bias = weights[f"{at}.se.{name}.weight"], weights[f"{at}.se.{name}.bias"]
        return functional.conv2d(x, weight, bias)

    out = functional.silu(convolved(x, "conv1"))
    out = functional.silu(convolved(out, "conv2", padding=1, groups=out.shape[1]))
    share = functional.silu(squeezed(out.mean(dim=(2, 3), keepdim=True), "fc1"))
    out = convolved(out * squeezed(share, "fc2").sigmoid(), "conv3")
    same = f"{at}.downsample.conv.weight" not in weights
    return functional.silu(out + (x if same else convolved(x, "downsample")))


def test_c_abstractor_is_honeybees() -> None:
    made = CAbstractor.Config(side=3, blocks=2, dim=16).build(dim_in=12, dim_out=20)
    part = shifted(made, 0.1).eval()
    weights = part.state_dict()
    rows = []
    for each in maps(MIXED):
        x = each.permute(2, 0, 1)[None]
        for block in ("before.b1", "before.b2"):
            x = bottleneck(x, weights, block)
        x = functional.adaptive_avg_pool2d(x, 3)
        for block in ("behind.b1", "behind.b2"):
            x = bottleneck(x, weights, block)
        rows.append(x[0].flatten(1).T)
    x = torch.cat(rows) @ weights["layers.0.weight"].T + weights["layers.0.bias"]
    wanted = functional.silu(x) @ weights["layers.2.weight"].T + weights["layers.2.bias"]
    torch.testing.assert_close(part(MIXED), wanted, rtol=1e-4, atol=1e-5)
