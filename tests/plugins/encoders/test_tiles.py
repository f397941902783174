"""Tiles beside transformers' LLaVA-NeXT: its image processor, its features, its logits."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
)
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from isthmus.core.config import load
from isthmus.core.contracts import Images, Pack, Segments
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import ConfigError, PartError
from isthmus.plugins.connectors.identity import Identity
from isthmus.plugins.encoders.clip import Clip
from isthmus.plugins.encoders.tiles import Tiles
from isthmus.testing import check_encoder, tiny_encoder_config, tiny_tokenizer
from tests.plugins.encoders.noise import noise

IMAGE = 290
SIDE = 32
VISION = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "vocab_size": 300,
}
PINPOINTS = [[1, 2], [2, 1], [2, 2], [3, 1], [1, 3]]
"""Rows and columns, in the order of LLaVA-NeXT's published configuration."""
SIZES = [
    *((64, 64), (48, 64), (64, 48), (33, 97), (97, 33), (70, 30), (31, 76)),
    *((1, 1), (2, 5), (640, 480), (500, 1200), (1500, 700), (1, 300), (300, 1), (40, 2000)),
]
"""Widths and heights: square, wide, tall, tiny, huge, and strips of which nothing is left."""


@pytest.fixture(scope="module")
def models() -> tuple[VisionLanguageModel, Any, Any]:
    """Ours and transformers', with the same weights, drawn large; and its image processor."""
    ours = build_model(
        load(
            ModelConfig,
            {
                "encoder": {"type": "tiles", "encoder": {"type": "clip", "config": VISION}},
                "connector": "mlp",
                "llm": {"type": "causal", "config": {"model_type": "llama", **TEXT}},
            },
        ),
        tokenizer=tiny_tokenizer(),
    ).eval()
    pixels = [[SIDE * rows, SIDE * columns] for rows, columns in PINPOINTS]
    theirs = LlavaNextForConditionalGeneration(
        LlavaNextConfig(
            vision_config=CLIPVisionConfig(**VISION),
            text_config=LlamaConfig(**TEXT),
            image_token_index=IMAGE,
            image_grid_pinpoints=pixels,
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
        )
    ).eval()
    _copy(ours, theirs)
    side = {"height": SIDE, "width": SIDE}
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size=side, image_grid_pinpoints=pixels
    )
    return ours, theirs, processor


@torch.no_grad()
def _copy(ours: VisionLanguageModel, theirs: Any) -> None:
    """Our weights into transformers' model; what it has beyond ours is never used."""
    tower, llm, seen = theirs.model.vision_tower, theirs.model.language_model, ours.encoder.encoder
    tower.embeddings.load_state_dict(seen.embeddings.state_dict())
    tower.pre_layrnorm.load_state_dict(seen.before.state_dict())
    tower.encoder.load_state_dict(seen.blocks.state_dict(), strict=False)
    first, second = ours.connector.layers[0], ours.connector.layers[2]
    theirs.model.multi_modal_projector.linear_1.load_state_dict(first.state_dict())
    theirs.model.multi_modal_projector.linear_2.load_state_dict(second.state_dict())
    theirs.model.image_newline.copy_(ours.connector.newline)
    llm.load_state_dict(ours.llm.model.model.state_dict())
    theirs.lm_head.load_state_dict(ours.llm.model.lm_head.state_dict())


def tokens_of(ours: VisionLanguageModel, size: tuple[int, int]) -> int:
    """What is promised of a picture whose pixels nobody has seen."""
    return ours.connector.config.num_tokens(ours.encoder.transform.grids(size))


@torch.no_grad()
def their_tokens(theirs: Any, processor: Any, pictures: list[Image.Image]) -> list[Tensor]:
    """Visual tokens of each picture, newlines among them."""
    given = processor(pictures, return_tensors="pt")
    return list(theirs.get_image_features(**given).pooler_output)


@pytest.mark.parametrize("size", SIZES)
def test_visual_tokens_are_those_of_transformers_and_as_many_as_promised(models, size) -> None:
    ours, theirs, processor = models
    picture = noise(size)
    (wanted,) = their_tokens(theirs, processor, [picture])
    images = Images.of([picture], ours.encoder.transform)
    with torch.no_grad():
        found = ours.see(images)
    assert tokens_of(ours, size) == len(wanted)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_crops_are_the_pixels_of_transformers_processor(models) -> None:
    ours, _, processor = models
    mean, std = (torch.tensor(x)[:, None, None] for x in (Clip.mean, Clip.std))
    for size in SIZES:
        picture = noise(size)
        wanted = processor(picture, return_tensors="pt")["pixel_values"][0] * std + mean
        found = ours.encoder.transform(picture)
        assert torch.equal((wanted * 255).round().to(torch.uint8), found), size


def test_any_size_has_as_many_tokens_as_transformers_keeps_places_for(models) -> None:
    from transformers import LlavaNextProcessor

    ours, _, processor = models
    counts = object.__new__(LlavaNextProcessor)
    counts.image_processor, counts.patch_size = processor, 8
    counts.num_additional_image_tokens = 0
    for width, height in itertools.product((1, 7, 31, 32, 50, 64, 99, 480, 4000), repeat=2):
        wanted = counts._get_number_of_features(height, width, SIDE, SIDE)
        assert tokens_of(ours, (width, height)) == wanted, (width, height)


@torch.no_grad()
def test_logits_of_a_pack_are_those_of_transformers_one_by_one(models) -> None:
    ours, theirs, processor = models
    pictures = [noise(size) for size in ((64, 48), (33, 97), (200, 90))]
    rows = []
    for picture in pictures:
        places = [IMAGE] * tokens_of(ours, picture.size)
        rows.append([3, 50, *places, 51, 52, 53])
    ids = torch.tensor([token for row in rows for token in row])
    pack = Pack(
        ids=ids,
        targets=ids,
        segments=Segments(tuple(map(len, rows))),
        visual=(ids == IMAGE).nonzero()[:, 0],
        images=Images.of(pictures, ours.encoder.transform),
        stands=torch.tensor([(0, 2), (1, 2), (2, 2)]),
        samples=("a", "b", "c"),
        weight=1.0,
    )
    found = ours.llm.head(ours.hidden(pack))
    wanted = []
    for row, picture in zip(rows, pictures, strict=True):
        given = processor([picture], return_tensors="pt")
        wanted.append(theirs(input_ids=torch.tensor([row]), **given).logits[0])
    difference = (found - torch.cat(wanted)).norm() / torch.cat(wanted).norm()
    assert difference < 1e-5


@pytest.mark.parametrize("fields", [{}, {"select": "cls_patch"}, {"preprocess": "pad"}])
def test_it_conforms(fields: dict[str, Any]) -> None:
    check_encoder(Tiles.Config(encoder=tiny_encoder_config(**fields)))


def test_it_conforms_around_timm_whose_own_preprocessing_would_cut_borders() -> None:
    inner = {
        "type": "timm",
        "model": "vit_tiny_patch16_224",
        "options": {"depth": 2, "embed_dim": 32, "num_heads": 2},
        "image_size": 32,
        "weights": None,
    }
    config = load(ModelConfig, {"encoder": {"type": "tiles", "encoder": inner}}).encoder
    check_encoder(config)
    picture = noise((64, 32))
    pixels = config.build().transform(picture)[1:]
    side_by_side = torch.cat(list(pixels), dim=2).permute(1, 2, 0)
    assert torch.equal(side_by_side, torch.from_numpy(np.array(picture)))


def test_without_newlines_the_connector_gets_no_token() -> None:
    values = {
        "encoder": {
            "type": "tiles",
            "newline": False,
            "encoder": {"type": "clip", "config": VISION},
        },
        "connector": "linear",
        "llm": {"type": "causal", "config": {"model_type": "llama", **TEXT}},
    }
    model = build_model(load(ModelConfig, values), tokenizer=tiny_tokenizer())
    assert model.connector.newline is None
    grids = model.encoder.transform.grids((64, 64))
    assert model.connector.config.num_tokens(grids) == 16 + 64


def test_a_connector_that_is_drawn_anew_keeps_its_newline(models) -> None:
    ours, _, _ = models
    model = copy.deepcopy(ours)
    model.reset("connector", seed=1)
    assert model.connector.newline.shape == (32,)
    assert not torch.equal(model.connector.newline, ours.connector.newline)


def test_identity_cannot_end_rows() -> None:
    with pytest.raises(PartError, match=r"newline behind every row.*`newline: false`"):
        Identity.Config().build(dim_in=4, dim_out=4, newline=True)


def test_tiles_of_tiles_are_refused_with_their_place_before_a_weight_is_loaded() -> None:
    values = {
        "encoder": {
            "type": "tiles",
            "encoder": {"type": "tiles", "encoder": {"type": "clip", "model": "nobody/nothing"}},
        }
    }
    with pytest.raises(ConfigError, match=r"encoder\.encoder: tiles gives 2 maps of a picture"):
        load(ModelConfig, values)


def test_a_wrong_layout_is_refused_with_its_place() -> None:
    inner = {"type": "clip", "config": VISION}
    for layouts in ([[0, 2]], [], [[2]]):
        values = {"encoder": {"type": "tiles", "encoder": inner, "layouts": layouts}}
        with pytest.raises(ConfigError, match=r"encoder\.layouts"):
            load(ModelConfig, values)
    bad = {"type": "clip", "config": {"patchsize": 8}}
    with pytest.raises(ConfigError, match=r"encoder\.encoder\.config\.patchsize"):
        load(ModelConfig, {"encoder": {"type": "tiles", "encoder": bad}})
