"""The vision transformer from scratch beside timm's and transformers', on the same weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional
from transformers import ViTConfig, ViTModel

from isthmus.core.config import load
from isthmus.core.contracts import Images
from isthmus.core.model.config import ModelConfig
from isthmus.errors import ConfigError
from isthmus.plugins.encoders.vit import Vit, waves
from isthmus.testing import check_encoder, tiny_pictures

SHAPE: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "dim": 24,
    "depth": 3,
    "heads": 4,
    "mlp_ratio": 2,
}


def build(**fields: Any) -> Vit:
    torch.manual_seed(0)
    return Vit.Config(**{**SHAPE, **fields}).build().eval()


def images(encoder: Vit) -> Images:
    return Images.of(tiny_pictures(), encoder.transform)


def pixels(encoder: Vit) -> Tensor:
    return (images(encoder).pixels / 255 - 0.5) / 0.5


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stem": "conv"},
        {"positions": "sincos", "class_token": True},
        {"pool": "mean", "class_token": True, "drop": 0.5},
        {"pool": "cls", "class_token": True, "drop": 0.75, "stem": "conv"},
        {"init": "stock", "preprocess": "pad", "heads": 3},
    ],
)
def test_it_conforms(fields: dict[str, Any]) -> None:
    check_encoder(Vit.Config(**{**SHAPE, **fields}))


@torch.no_grad()
def timms(encoder: Vit, pool: str) -> Tensor:
    """Output of timm's whole model, with a class token, the encoder's weights in it."""
    model = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=32,
        patch_size=8,
        embed_dim=24,
        depth=3,
        num_heads=4,
        mlp_ratio=2,
        num_classes=0,
        global_pool=pool,
        fc_norm=False,
    ).eval()
    state = {name: value for name, value in encoder.state_dict().items() if "blocks" in name}
    state |= {f"patch_embed.proj.{n}": v for n, v in encoder.stem.state_dict().items()}
    state |= {f"norm.{name}": value for name, value in encoder.norm.state_dict().items()}
    state["cls_token"] = encoder.class_token[None, None]
    # timm gives the class token a place, which ours has not.
    places = torch.cat([torch.zeros(1, 24), encoder.positions.weight])
    model.load_state_dict(state | {"pos_embed": places[None]}, strict=True)
    return model(pixels(encoder))


@pytest.mark.parametrize(("pool", "theirs"), [("mean", "avg"), ("cls", "token")])
def test_pooled_features_are_those_of_timm(pool: str, theirs: str) -> None:
    encoder = build(pool=pool, class_token=True, drop=0.5)
    found = encoder(images(encoder))
    assert torch.allclose(found.values, timms(encoder, theirs), rtol=1e-5, atol=1e-5)
    assert found.counts == (1,) * len(tiny_pictures())


@torch.no_grad()
def test_patches_are_those_of_transformers() -> None:
    encoder = build(class_token=True)
    shape = ViTConfig(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=32,
        patch_size=8,
        layer_norm_eps=1e-6,
    )
    model = ViTModel(shape, add_pooling_layer=False).eval()
    embeddings = model.embeddings
    embeddings.cls_token.copy_(encoder.class_token[None, None])
    embeddings.position_embeddings.zero_()
    embeddings.position_embeddings[:, 1:] = encoder.positions.weight
    embeddings.patch_embeddings.projection.load_state_dict(encoder.stem.state_dict())
    model.layernorm.load_state_dict(encoder.norm.state_dict())
    names = dict(zip("qkv", ("q_proj", "k_proj", "v_proj"), strict=True))
    for ours, theirs in zip(encoder.blocks, model.layers, strict=True):
        weights = zip(
            names, ours.attn.qkv.weight.chunk(3), ours.attn.qkv.bias.chunk(3), strict=True
        )
        for name, weight, bias in weights:
            layer = getattr(theirs.attention, names[name])
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        theirs.attention.o_proj.load_state_dict(ours.attn.proj.state_dict())
        theirs.layernorm_before.load_state_dict(ours.norm1.state_dict())
        theirs.layernorm_after.load_state_dict(ours.norm2.state_dict())
        theirs.mlp.fc1.load_state_dict(ours.mlp.fc1.state_dict())
        theirs.mlp.fc2.load_state_dict(ours.mlp.fc2.state_dict())
    wanted = model(pixels(encoder)).last_hidden_state[:, 1:]
    found = encoder(images(encoder)).values
    assert torch.allclose(found, wanted.flatten(0, 1), rtol=1e-5, atol=1e-5)


def test_waves_are_those_of_the_formula() -> None:
    found = waves(3, 8).reshape(3, 3, 8)
    for row, column in ((0, 0), (2, 1), (1, 2)):
        for half, place in ((0, column), (4, row)):
            for k, rate in enumerate((1.0, 10000**-0.5)):
                assert found[row, column, half + k].item() == pytest.approx(math.sin(place * rate))
                assert found[row, column, half + 2 + k].item() == pytest.approx(
                    math.cos(place * rate)
                )


@torch.no_grad()
def test_the_conv_stem_is_its_layers_one_by_one() -> None:
    encoder = build(stem="conv")
    values = pixels(encoder)
    layers = list(encoder.stem)
    for conv, norm in zip(layers[:-1:3], layers[1:-1:3], strict=True):
        values = functional.conv2d(values, conv.weight, stride=2, padding=1)
        flat = values.flatten(1)
        mean, variance = flat.mean(1), flat.var(1, unbiased=False)
        values = (values - mean[:, None, None, None]) / (variance + 1e-5).sqrt()[
            :, None, None, None
        ]
        values = functional.gelu(values * norm.weight[:, None, None] + norm.bias[:, None, None])
    wanted = torch.einsum("nchw,dc->ndhw", values, layers[-1].weight[:, :, 0, 0])
    wanted = wanted + layers[-1].bias[:, None, None]
    assert torch.allclose(encoder.stem(pixels(encoder)), wanted, rtol=1e-4, atol=1e-4)
    assert wanted.shape[1:] == (24, 4, 4)


def test_patches_are_left_out_in_training_alone_and_drawn_from_torchs_generator() -> None:
    encoder = build(pool="mean", drop=0.75)
    seen: list[Tensor] = []
    encoder.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = images(encoder)
    encoder(batch)
    encoder.train()
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        assert len(encoder(batch).values) == len(batch)
    whole, first, again, other = seen
    assert whole.shape[1:] == (16, 24)
    assert first.shape[1:] == (4, 24)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    for kept, patches in zip(first, whole, strict=True):
        places = [(patches == row).all(1).nonzero().item() for row in kept]
        assert places == sorted(set(places))


def test_weights_are_drawn_at_one_over_the_root_of_the_width() -> None:
    shape = {"dim": 256, "heads": 4, "depth": 2, "mlp_ratio": 4, "class_token": True}
    encoder = build(**shape)
    block = encoder.blocks[0]
    for weight in (encoder.stem.weight, block.attn.qkv.weight, block.mlp.fc1.weight):
        expected = min(weight[0].numel(), 256) ** -0.5
        assert weight.std().item() == pytest.approx(expected, rel=0.05)
    for weight in (block.attn.proj.weight, block.mlp.fc2.weight):
        assert weight.std().item() == pytest.approx(256**-0.5 / 2, rel=0.05)
    assert encoder.class_token.std().item() == pytest.approx(256**-0.5, rel=0.2)
    assert encoder.positions.weight.std().item() == pytest.approx(1, rel=0.05)
    stock = build(init="stock", **shape)
    for weight in (stock.blocks[0].mlp.fc1.weight, stock.positions.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_a_deep_stem_does_not_shrink_what_blocks_add() -> None:
    encoder = build(stem="conv", image_size=64, patch_size=32, dim=256, depth=2)
    weight = encoder.blocks[0].mlp.fc2.weight
    assert weight.std().item() == pytest.approx(256**-0.5 / 2, rel=0.05)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"patch_size": 7}, r"encoder\.patch_size: patches of 7 pixels do not fill 32"),
        ({"heads": 5}, r"encoder\.heads: 5 heads"),
        ({"stem": "conv", "image_size": 36, "patch_size": 12}, r"encoder\.patch_size: convolu"),
        ({"positions": "sincos", "dim": 22, "heads": 2}, r"encoder\.dim: waves"),
        ({"pool": "cls"}, r"encoder\.class_token: .*class_token: true"),
        ({"drop": 0.5}, r"encoder\.drop: .*`pool: mean`"),
        ({"drop": 1.0, "pool": "mean"}, r"encoder\.drop"),
    ],
)
def test_a_wrong_config_is_refused_with_its_place(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(ModelConfig, {"encoder": {"type": "vit", **SHAPE, **fields}})
