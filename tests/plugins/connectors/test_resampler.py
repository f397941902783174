"""The resampler and the single block, beside loops written from their papers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu

from isthmus.core.contracts import Features, Grid, Grids
from isthmus.errors import PartError
from isthmus.plugins.connectors.cross_attention import CrossAttention
from isthmus.plugins.connectors.resampler import Resampler
from tests.oracles import shifted
from tests.plugins.connectors.plain import attention, doubled, linear, norm

VIDEO: Grids = (Grid(2, 3, prefix=1, frames=2),)
STILL: Grids = (Grid(2, 2),)
TILES: Grids = (Grid(1, 2), Grid(2, 1, frames=3))
FEATURES = Features(
    torch.randn(14 + 4 + 8, 12, generator=torch.Generator().manual_seed(0)),
    (VIDEO, STILL, TILES),
)


def drawn(module: torch.nn.Module) -> torch.nn.Module:
    """Every weight moved: norms and biases too must matter."""
    torch.manual_seed(1)
    return shifted(module, 0.3).double().eval()


def frames(grids: Grids) -> list[int]:
    """The frame of each feature."""
    return [
        frame
        for grid in grids
        for frame in range(grid.frames)
        for _ in range(grid.prefix + grid.height * grid.width)
    ]


def resampled(weights: dict[str, Tensor], values: Tensor, grids: Grids, depth: int) -> Tensor:
    """Figure 5 of the paper: time vectors added, then layer by layer x += attention(q=x,
    kv=[x_f, x]) and x += ffw(x), each behind a norm, with squared ReLU."""
    x_f = values + torch.stack([weights["times"][frame] for frame in frames(grids)])
    x = weights["queries"]
    for layer in range(depth):
        at = f"layers.{layer}"
        asks = norm(x, weights, f"{at}.attention_norm")
        kv = torch.cat([norm(x_f, weights, f"{at}.features_norm"), asks])
        x = x + attention(asks, kv, weights, f"{at}.attention", heads=3)
        inner = linear(norm(x, weights, f"{at}.mlp_norm"), weights, f"{at}.mlp.fc1")
        x = x + linear(inner.clamp(min=0) ** 2, weights, f"{at}.mlp.fc2")
    return linear(norm(x, weights, "norm"), weights, "projection")


def test_resampler_is_flamingos() -> None:
    config = Resampler.Config(queries=5, layers=2, heads=3, head_dim=4, frames=3)
    part = drawn(config.build(dim_in=12, dim_out=20))
    got = part(Features(FEATURES.values.double(), FEATURES.grids))
    wanted = torch.cat(
        [
            resampled(doubled(part), values.double(), grids, depth=2)
            for values, grids in zip(FEATURES.runs(), FEATURES.grids, strict=True)
        ]
    )
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_resampler_sees_the_order_of_frames_only_where_it_is_to() -> None:
    clip = Features(torch.randn(6, 12), ((Grid(1, 2, frames=3),),))
    backwards = Features(clip.values.reshape(3, 2, 12).flip(0).reshape(6, 12), clip.grids)
    torch.manual_seed(0)
    ordered = Resampler.Config(queries=4, layers=1, frames=3).build(dim_in=12, dim_out=20)
    blind = Resampler.Config(queries=4, layers=1).build(dim_in=12, dim_out=20)
    assert not torch.allclose(ordered(clip), ordered(backwards), atol=1e-3)
    assert torch.allclose(blind(clip), blind(backwards), atol=1e-5)


def test_a_video_of_more_frames_than_are_told_apart_is_refused_as_its_places_are_counted() -> None:
    config = Resampler.Config(frames=4)
    assert config.num_tokens((Grid(2, 2, frames=4),)) == 64
    with pytest.raises(PartError, match=r"a video of 8 frames, .* 4 apart; write `frames: 8`"):
        config.num_tokens((Grid(2, 2), Grid(2, 2, frames=8)))


def test_cross_attention_is_one_block_of_a_transformer() -> None:
    part = drawn(CrossAttention.Config(queries=5, heads=3, head_dim=4).build(dim_in=12, dim_out=20))
    weights = doubled(part)
    wanted = []
    for values in FEATURES.runs():
        x = weights["queries"]
        asks = norm(x, weights, "queries_norm")
        seen = norm(values.double(), weights, "features_norm")
        x = x + attention(asks, seen, weights, "attention", heads=3)
        inner = gelu(linear(norm(x, weights, "mlp_norm"), weights, "mlp.fc1"))
        x = x + linear(inner, weights, "mlp.fc2")
        wanted.append(linear(norm(x, weights, "norm"), weights, "projection"))
    got = part(Features(FEATURES.values.double(), FEATURES.grids))
    torch.testing.assert_close(got, torch.cat(wanted), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("config", [Resampler.Config(queries=7), CrossAttention.Config(queries=7)])
def test_places_are_as_many_as_queries_whatever_the_image(config) -> None:
    for grids in (*FEATURES.grids, (Grid(24, 24),)):
        assert config.num_tokens(grids) == 7
