"""BLIP-2's image tower as a part; beside transformers' in tests/systems/test_blip2_oracle.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    CLIPVisionConfig,
    CLIPVisionModel,
)

from isthmus.core.config import validate_part
from isthmus.core.contracts import Images
from isthmus.errors import PartError
from isthmus.plugins.encoders.blip2 import Blip2
from isthmus.testing import check_encoder, tiny_pictures

SHAPE: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT = SMALL | {"model_type": "opt", "ffn_dim": 16, "word_embed_proj_dim": 16, "vocab_size": 50}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    torch.manual_seed(0)
    config = Blip2Config(vision_config=SHAPE, qformer_config=SMALL, text_config=TEXT)
    whole = Blip2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in whole.vision_model.parameters():
            parameter.normal_(std=0.3)
    folder = tmp_path_factory.mktemp("blip2")
    whole.save_pretrained(folder)
    return folder, whole


@pytest.mark.parametrize("fields", [{}, {"select": "patch"}, {"layer": 2, "preprocess": "pad"}])
def test_it_conforms(fields: dict[str, Any]) -> None:
    check_encoder(Blip2.Config(config=SHAPE, **fields))


def test_it_conforms_out_of_a_folder(published: tuple[Path, Any]) -> None:
    check_encoder(Blip2.Config(model=str(published[0])))


@torch.no_grad()
def test_a_lower_layer_is_normed_too(published: tuple[Path, Any]) -> None:
    folder, whole = published
    encoder = Blip2.Config(model=str(folder), layer=-2).build().eval()
    images = Images.of(tiny_pictures(), encoder.transform)
    mean, std = (torch.tensor(x)[:, None, None] for x in (Blip2.mean, Blip2.std))
    pixels = (images.pixels / 255 - mean) / std
    tower = whole.vision_model
    states = tower(pixels, output_hidden_states=True).hidden_states
    wanted = tower.post_layernorm(states[2]).flatten(0, 1)
    assert torch.allclose(encoder(images).values, wanted, rtol=1e-4, atol=1e-5)


def test_the_norm_may_learn_alone(published: tuple[Path, Any]) -> None:
    encoder = Blip2.Config(model=str(published[0])).build()
    tuner: Any = validate_part("tuner", {"type": "by_module", "modules": {"norm": "full"}})
    tuner.build().apply(encoder)
    learning = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert learning == {"norm.weight", "norm.bias"}


def test_another_family_and_missing_weights_are_refused(published, tmp_path: Path) -> None:
    CLIPVisionModel(CLIPVisionConfig(**SHAPE)).save_pretrained(tmp_path / "clip")
    with pytest.raises(PartError, match="'clip_vision_model' model; this encoder loads blip-2 or"):
        Blip2.Config(model=str(tmp_path / "clip")).build()
    _, whole = published
    kept = {k: v for k, v in whole.state_dict().items() if "vision_model.post" not in k}
    whole.save_pretrained(tmp_path / "half", state_dict=kept)
    with pytest.raises(PartError, match=r"Missing key\(s\) in state_dict.*post_layernorm"):
        Blip2.Config(model=str(tmp_path / "half")).build()
