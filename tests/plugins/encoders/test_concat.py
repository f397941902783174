"""Encoders as one beside the same encoders run by hand, each on its own picture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from isthmus.core.config import load
from isthmus.core.contracts import Encoder, Images
from isthmus.core.model.config import ModelConfig
from isthmus.errors import ConfigError, PartError
from isthmus.plugins.encoders.concat import Concat
from isthmus.plugins.encoders.tiles import Tiles
from isthmus.testing import check_encoder, tiny_encoder_config, tiny_pictures
from tests.oracles import VISION

DINO = {
    "hidden_size": 16,
    "mlp_ratio": 2,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 42,
    "patch_size": 7,
}


def parts(**dino: Any) -> list[dict[str, Any]]:
    """CLIP of 4 x 4 patches and 24 channels, DINOv2 of 6 x 6 and 16, of different sizes."""
    clip = {"type": "clip", "config": VISION, "preprocess": "pad"}
    return [clip, {"type": "dinov2", "config": DINO, **dino}]


def config(encoders: list[Any] | None = None, **fields: Any) -> Any:
    values = {"type": "concat", "encoders": parts() if encoders is None else encoders, **fields}
    return load(ModelConfig, {"encoder": values}).encoder


def build(**fields: Any) -> Concat:
    torch.manual_seed(0)
    return config(**fields).build().eval()


@torch.no_grad()
def by_hand(encoder: Encoder) -> Tensor:
    """(images tokens dim) of an encoder that prepares the pictures itself."""
    images = Images.of(tiny_pictures(), encoder.transform)
    return encoder(images).values.unflatten(0, (len(images), -1))


@torch.no_grad()
def features(encoder: Concat) -> Tensor:
    images = Images.of(tiny_pictures(), encoder.transform)
    return encoder(images).values.unflatten(0, (len(images), -1))


def on_grid(values: Tensor, side: int, wanted: tuple[int, int]) -> Tensor:
    maps = values.transpose(1, 2).unflatten(2, (side, side))
    resized = functional.interpolate(maps, wanted, mode="bilinear", align_corners=False)
    return resized.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("grid", [None, (4, 4), (6, 6), (3, 5)])
def test_by_channel_a_patch_has_the_features_of_all_encoders(grid) -> None:
    encoder = build(grid=grid)
    clip, dino = map(by_hand, encoder.encoders)
    wanted = grid or (4, 4)
    clip = clip if wanted == (4, 4) else on_grid(clip, 4, wanted)
    dino = dino if wanted == (6, 6) else on_grid(dino, 6, wanted)
    assert torch.allclose(features(encoder), torch.cat([clip, dino], dim=2), rtol=1e-5, atol=1e-5)
    assert encoder.dim == 40


def test_by_sequence_maps_follow_each_other_in_channels_of_their_own() -> None:
    encoder = build(by="sequence")
    clip, dino = map(by_hand, encoder.encoders)
    found = features(encoder)
    assert torch.allclose(found[:, :16, :24], clip, rtol=1e-5, atol=1e-5)
    assert torch.allclose(found[:, 16:, 24:], dino, rtol=1e-5, atol=1e-5)
    assert not found[:, :16, 24:].any()
    assert not found[:, 16:, :24].any()
    assert [grid.num_features for grid in encoder.transform.grids((50, 9))] == [16, 36]


@pytest.mark.parametrize(
    "fields", [{}, {"grid": (5, 3)}, {"by": "sequence"}, {"encoders": parts()[::-1]}]
)
def test_it_conforms(fields: dict[str, Any]) -> None:
    check_encoder(config(**fields))


def test_it_conforms_inside_itself_and_inside_tiles() -> None:
    check_encoder(config(encoders=[config(), tiny_encoder_config()], by="sequence"))
    check_encoder(Tiles.Config(encoder=config()))


@torch.no_grad()
def test_tiles_of_it_are_seen_by_every_encoder_in_its_own_size() -> None:
    tiles = Tiles.Config(encoder=config()).build().eval()
    both = tiles.encoder.encoders
    images = Images.of(tiny_pictures()[:1], tiles.transform)
    found = tiles(images).values
    alone = tiny_pictures()[0]
    clip, dino = (
        encoder(Images.of([alone], encoder.transform.squashed())).values for encoder in both
    )
    wanted = torch.cat([clip, on_grid(dino[None], 6, (4, 4))[0]], dim=1)
    assert torch.allclose(found[:16], wanted, rtol=1e-5, atol=1e-5)


def test_a_frozen_encoder_in_it_stays_in_eval_mode_and_keeps_no_graph() -> None:
    encoder = build().train()
    frozen, learning = encoder.encoders
    frozen.requires_grad_(False)
    encoder.train()
    assert (frozen.training, learning.training, encoder.training) == (False, True, True)
    outputs = []
    for inner in encoder.encoders:
        inner.register_forward_hook(lambda *args: outputs.append(args[2].values.requires_grad))
    encoder(Images.of(tiny_pictures(), encoder.transform)).values.sum().backward()
    assert outputs == [False, True]
    assert all(p.grad is None for p in frozen.parameters())
    assert all(p.grad is not None for p in learning.parameters())


def test_its_weights_are_published_only_where_all_are() -> None:
    published = {"type": "clip", "model": "somebody/clip"}
    other = {"type": "dinov2", "model": "somebody/dino"}
    both, one = config(encoders=[published, other]), config(encoders=[published, parts()[1]])
    assert (both.pretrained, both.all_pretrained) == ("somebody/clip + somebody/dino", True)
    assert (one.pretrained, one.all_pretrained) == ("somebody/clip", False)
    assert (config().pretrained, config().all_pretrained) == (None, False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoders": parts()[:1]}, r"encoder\.encoders"),
        ({"by": "depth"}, r"encoder\.by"),
        ({"by": "sequence", "grid": [4, 4]}, r"encoder\.grid: maps keep their grids"),
        (
            {"encoders": [parts()[0], {"type": "tiles", "encoder": parts()[1]}]},
            r"encoder\.encoders\[1\]: tiles gives 2 maps",
        ),
        (
            {"encoders": [parts()[0], {"type": "clop", "model": "x"}]},
            r"encoder\.encoders\[1\].*clip",
        ),
    ],
)
def test_a_wrong_config_is_refused_with_its_place(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**fields)


def test_class_tokens_have_no_place_on_a_common_grid() -> None:
    with pytest.raises(PartError, match=r"encoders\[1\].*`select: patch`.*`by: sequence`"):
        config(encoders=parts(select="cls_patch")).build()
    check_encoder(config(encoders=parts(select="cls_patch"), by="sequence"))
