"""The towers of transformers beside transformers' own models, on the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from isthmus.core.contracts import Images
from isthmus.core.model.vision_tower import VisionTower
from isthmus.errors import PartError
from isthmus.plugins.encoders.clip import Clip
from isthmus.plugins.encoders.dinov2 import Dinov2
from isthmus.plugins.encoders.siglip import Siglip
from isthmus.testing import check_encoder, tiny_pictures

SHAPE: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
WIDE = {"intermediate_size": 48}
FAMILIES = {
    "clip": (Clip, CLIPVisionModel, CLIPVisionConfig(**SHAPE, **WIDE)),
    "siglip": (Siglip, SiglipVisionModel, SiglipVisionConfig(**SHAPE, **WIDE)),
    "dinov2": (Dinov2, Dinov2Model, Dinov2Config(**SHAPE, mlp_ratio=2)),
}
TEXT = {
    "vocab_size": 99,
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[type[VisionTower], Any, Path]:
    """The encoder, transformers' model, and the folder where its weights are."""
    part, model_class, config = FAMILIES[request.param]
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # larger than stock, so that layers matter
            parameter.normal_(std=0.3)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    return part, model, folder


def pictures(transform: Any) -> Images:
    return Images.of(tiny_pictures(), transform)


def features(model: Any, encoder: VisionTower, images: Images, layer: int) -> Tensor:
    """hidden_states[layer] of transformers' whole model, (images tokens dim)."""
    mean, std = (torch.tensor(x)[:, None, None] for x in (encoder.pixel_mean, encoder.pixel_std))
    pixels = (images.pixels / 255 - mean) / std
    with torch.no_grad():
        return model(pixel_values=pixels, output_hidden_states=True).hidden_states[layer]


@pytest.mark.parametrize("layer", [-1, -2, 1, 3])
def test_features_are_those_of_the_layer_in_transformers_numbering(family, layer: int) -> None:
    part, model, folder = family
    encoder = part.Config(model=str(folder), layer=layer).build().eval()
    images = pictures(encoder.transform)
    wanted = features(model, encoder, images, layer)[:, part.prefix :]
    got = encoder(images)
    assert torch.allclose(got.values, wanted.flatten(0, 1), rtol=1e-4, atol=1e-5)
    assert got.counts == (16,) * len(images)


def test_the_class_token_stands_before_the_patches(family) -> None:
    part, model, folder = family
    config = part.Config(model=str(folder), select="cls_patch")
    if not part.prefix:
        with pytest.raises(PartError, match="no class token; write `select: patch`"):
            config.build()
        return
    encoder = config.build().eval()
    images = pictures(encoder.transform)
    wanted = features(model, encoder, images, -2)
    assert torch.allclose(encoder(images).values, wanted.flatten(0, 1), rtol=1e-4, atol=1e-5)
    assert encoder.grid.prefix == 1


def test_layers_above_the_used_one_are_neither_run_nor_kept(family) -> None:
    part, model, folder = family
    whole = sum(p.numel() for p in model.parameters())
    encoder = part.Config(model=str(folder), layer=2).build()
    assert encoder.layers == 2
    assert sum(p.numel() for p in encoder.parameters()) < 0.7 * whole
    ran = []
    for name, module in encoder.named_modules():
        if type(module).__name__.endswith(("EncoderLayer", "Dinov2Layer")):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    encoder(pictures(encoder.transform))
    assert len(ran) == 2


def test_it_conforms(family) -> None:
    part, _, folder = family
    check_encoder(part.Config(model=str(folder)))


@pytest.mark.parametrize(("part", "config"), [(f[0], f[2]) for f in FAMILIES.values()])
@pytest.mark.parametrize("preprocess", ["resize", "crop", "pad"])
def test_it_conforms_when_built_from_scratch(part, config, preprocess: str) -> None:
    shape = SHAPE | ({"mlp_ratio": 2} if part is Dinov2 else WIDE)
    check_encoder(part.Config(config=shape, preprocess=preprocess))


def test_the_vision_half_of_a_whole_clip_is_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CLIPConfig(text_config=TEXT, vision_config={**SHAPE, **WIDE}, projection_dim=16)
    whole = CLIPModel(config).eval()
    whole.save_pretrained(tmp_path)
    encoder = Clip.Config(model=str(tmp_path)).build().eval()
    images = pictures(encoder.transform)
    wanted = features(whole.vision_model, encoder, images, -2)[:, 1:]
    assert torch.allclose(encoder(images).values, wanted.flatten(0, 1), rtol=1e-4, atol=1e-6)


def test_the_vision_half_of_a_whole_siglip_is_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = SiglipModel(SiglipConfig(text_config=TEXT, vision_config={**SHAPE, **WIDE})).eval()
    whole.save_pretrained(tmp_path)
    encoder = Siglip.Config(model=str(tmp_path)).build().eval()
    images = pictures(encoder.transform)
    wanted = features(whole.vision_model, encoder, images, -2)
    assert torch.allclose(encoder(images).values, wanted.flatten(0, 1), rtol=1e-4, atol=1e-6)


def test_another_familys_checkpoint_is_refused(family) -> None:
    part, _, folder = family
    other = Siglip if part is not Siglip else Clip
    with pytest.raises(PartError, match=f"is a '{part.name}.*' model; this encoder loads"):
        other.Config(model=str(folder)).build()


def test_pixel_statistics_are_the_published_models_own(family, tmp_path: Path) -> None:
    part, model, _ = family
    assert part.Config(config=model.config.to_diff_dict() | SHAPE).build().pixel_mean == part.mean
    model.save_pretrained(tmp_path)
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    encoder = part.Config(model=str(tmp_path), preprocess="pad").build()
    assert (encoder.pixel_mean, encoder.pixel_std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert encoder.transform.fill == (25, 51, 76)
    assert encoder.blueprint().mean == (0.1, 0.2, 0.3)
    mine = part.Config(model=str(tmp_path), mean=(0.5, 0.5, 0.5)).build()
    assert mine.pixel_mean == (0.5, 0.5, 0.5)


def test_weights_are_drawn_scaled_or_stock() -> None:
    def std(init: str) -> float:
        shape = SHAPE | WIDE | {"hidden_size": 64, "num_attention_heads": 4}
        encoder = Clip.Config(config=shape, init=init).build()
        return encoder.embeddings.patch_embedding.weight.std().item()

    assert std("scaled") == pytest.approx(64**-0.5, rel=0.05)
    assert std("stock") == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("layer", [0, 5, -5])
def test_a_layer_that_is_not_there_is_refused(layer: int) -> None:
    with pytest.raises(PartError, match=rf"there is no layer {layer}; the model has 4"):
        Clip.Config(config=SHAPE | WIDE, layer=layer).build()


def test_a_misspelt_key_is_refused() -> None:
    with pytest.raises(PartError, match=r"no key 'patchsize'. Did you mean 'patch_size'"):
        Clip.Config(config={"patchsize": 8}).build()


def test_bf16_weights_see_the_same_normalised_pixels() -> None:
    encoder = Clip.Config(config=SHAPE | WIDE).build().eval()
    images = Images.of([Image.new("RGB", (40, 40), (10, 200, 30))], encoder.transform)
    wanted = encoder(images).values
    got = encoder.bfloat16()(images).values
    assert got.dtype == torch.bfloat16
    assert (got.float() - wanted).norm() < 0.03 * wanted.norm()
