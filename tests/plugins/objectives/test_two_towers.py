"""Contrastive losses beside transformers' own, and on batches that can be counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from isthmus.core.config import validate_part
from isthmus.core.contracts import Images
from isthmus.core.model.contrast import Everyone, recalls
from isthmus.core.model.transform import normalise
from isthmus.errors import PartError
from isthmus.testing import tiny_pictures, tiny_tokenizer
from tests.oracles import TOWER, VISION, shifted
from tests.plugins.objectives.matches import matches, model_of

WORDS = {"vocab_size": 300, "max_position_embeddings": 9, "eos_token_id": 299, "pad_token_id": 0}
TEXTS = [[1, 7, 8, 299], [1, 9, 299], [1, 4, 5, 6, 7, 299], [1, 8, 299]]


def saved(folder: Path, whole: Any) -> str:
    torch.manual_seed(0)
    whole.save_pretrained(folder)
    return str(folder)


def towers(family: str, folder: str, **encoder: Any) -> Any:
    """Encoder and text encoder out of transformers' whole model."""
    seeing: Any = validate_part("encoder", {"type": family, "model": folder, "layer": -1} | encoder)
    reading: Any = validate_part("text_encoder", {"type": family, "model": folder})
    return model_of(seeing.build().eval(), reading.build(tokenizer_object=tiny_tokenizer()).eval())


def images(model: Any) -> tuple[Images, Tensor]:
    """A batch, and what transformers' model is given of it."""
    batch = Images.of(tiny_pictures(), model.encoder.transform)
    encoder = model.encoder
    return batch, normalise(batch.pixels, encoder.pixel_mean, encoder.pixel_std, torch.float32)


def gradients(named: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.grad for name, tensor in named.items() if tensor.grad is not None}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[CLIPModel, str]:
    torch.manual_seed(0)
    config = CLIPConfig(text_config=TOWER | WORDS, vision_config=VISION, projection_dim=10)
    whole = shifted(CLIPModel(config), 0.05).eval()
    return whole, saved(tmp_path_factory.mktemp("clip"), whole)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> tuple[SiglipModel, str]:
    torch.manual_seed(0)
    text = TOWER | WORDS | {"projection_size": 24}
    config = SiglipConfig(text_config=text, vision_config=VISION)
    whole = shifted(SiglipModel(config), 0.05).eval()
    return whole, saved(tmp_path_factory.mktemp("siglip"), whole)


def clip_objective(model: Any, whole: CLIPModel) -> Any:
    objective: Any = validate_part("objective", {"type": "clip", "dim": 10, "pool": "cls"})
    objective = objective.build()
    objective.join(model)
    objective.towers.image.norm.load_state_dict(whole.vision_model.post_layernorm.state_dict())
    objective.towers.image.map.load_state_dict(whole.visual_projection.state_dict())
    objective.towers.text.load_state_dict(whole.text_projection.state_dict())
    objective.scale.log.data.copy_(whole.logit_scale)
    return objective


def test_clip_has_loss_and_gradients_of_transformers(clip: tuple[CLIPModel, str]):
    whole, folder = clip
    model = towers("clip", folder, select="cls_patch", preprocess="resize")
    batch, pixels = images(model)
    given = matches(batch, TEXTS)
    objective = clip_objective(model, whole)
    whole.zero_grad()
    wanted = whole(
        input_ids=given.text.ids,
        attention_mask=given.text.mask.long(),
        pixel_values=pixels,
        return_loss=True,
    ).loss
    wanted.backward()
    loss = objective(model, given)
    (loss.sum / loss.weight).backward()
    torch.testing.assert_close(loss.sum / 4, wanted, rtol=1e-5, atol=1e-6)
    ours = model.text_encoder.model.embeddings.token_embedding.weight.grad
    theirs = whole.text_model.embeddings.token_embedding.weight.grad
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        objective.scale.log.grad[0], whole.logit_scale.grad, rtol=1e-4, atol=1e-6
    )
    ours = model.encoder.embeddings.patch_embedding.weight.grad
    theirs = whole.vision_model.embeddings.patch_embedding.weight.grad
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_temperature_goes_on_learning_where_it_may_be_no_sharper(clip: tuple[CLIPModel, str]):
    model = towers("clip", clip[1])
    of: Any = [{"type": "clip", "dim": 10, "sharpest": 0.02}, {"type": "siglip", "dim": 10}]
    mix: Any = validate_part("objective", {"type": "mix", "of": of}).build()
    mix.join(model)
    scale = mix.of["clip"].scale
    scale.log.data.fill_(9.0)
    mix.after_step(model)
    assert float(scale().detach()) == pytest.approx(50)
    mix.of["clip"](model, matches(images(model)[0], TEXTS)).sum.backward()
    assert float(scale.log.grad) != 0


def test_siglip_has_loss_and_gradients_of_transformers(siglip: tuple[SiglipModel, str]):
    whole, folder = siglip
    model = towers("siglip", folder)
    batch, pixels = images(model)
    given = matches(batch, TEXTS)
    objective: Any = validate_part(
        "objective",
        {"type": "siglip", "dim": None, "pool": "attention", "heads": 4, "hidden": 48},
    )
    objective = objective.build()
    objective.join(model)
    head, own = whole.vision_model.head, objective.towers.image
    own.norm.load_state_dict(whole.vision_model.post_layernorm.state_dict())
    own.probe.data.copy_(head.probe)
    for name, weight, bias in zip(
        ("q_proj", "k_proj", "v_proj"),
        head.attention.in_proj_weight.chunk(3),
        head.attention.in_proj_bias.chunk(3),
        strict=True,
    ):
        getattr(own.attention, name).load_state_dict({"weight": weight, "bias": bias})
    own.attention.out_proj.load_state_dict(head.attention.out_proj.state_dict())
    own.probe_norm.load_state_dict(head.layernorm.state_dict())
    own.probe_layers.load_state_dict(head.mlp.state_dict())
    objective.scale.log.data.fill_(float(whole.logit_scale.detach()))
    objective.bias.data.fill_(float(whole.logit_bias.detach()))
    whole.zero_grad()
    filled = torch.zeros(4, 9, dtype=torch.long)
    filled[:, :6] = given.text.ids
    wanted = whole(input_ids=filled, pixel_values=pixels, return_loss=True).loss
    wanted.backward()
    loss = objective(model, given)
    (loss.sum / loss.weight).backward()
    torch.testing.assert_close(loss.sum / 4, wanted, rtol=1e-5, atol=1e-6)
    ours = model.text_encoder.model.embeddings.token_embedding.weight.grad
    theirs = whole.text_model.embeddings.token_embedding.weight.grad
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(own.probe.grad, head.probe.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(objective.bias.grad, whole.logit_bias.grad, rtol=1e-4, atol=1e-6)


def everyone(images: list[int], texts: list[int]) -> Everyone:
    return Everyone.of(torch.tensor([images, texts, range(len(images))]).T, counted=True)


def test_matches_of_one_picture_or_one_text_are_no_negatives_of_each_other():
    seen = everyone(images=[5, 5, 6, 7], texts=[1, 2, 3, 3])
    assert seen.others.tolist() == [
        [False, False, True, True],
        [False, False, True, True],
        [True, True, False, False],
        [True, True, False, False],
    ]
    logits = torch.tensor([[1.0, 9.0, 0.0, 0.5]] * 4)
    lost, right = seen.cross_entropy(logits)
    first = -torch.log_softmax(torch.tensor([1.0, 0.0, 0.5]), 0)[0]
    second = -torch.log_softmax(torch.tensor([9.0, 0.0, 0.5]), 0)[0]
    third = -torch.log_softmax(torch.tensor([0.0, 1.0, 9.0]), 0)[0]
    fourth = -torch.log_softmax(torch.tensor([0.5, 1.0, 9.0]), 0)[0]
    torch.testing.assert_close(lost, first + second + third + fourth)
    assert right == 2  # the equal picture, which scores 9, is no rival
    lost, _ = seen.sigmoid(logits)
    counted = seen.others | torch.eye(4, dtype=torch.bool)
    signs = 2 * torch.eye(4) - 1
    wanted = -torch.nn.functional.logsigmoid(signs * logits)[counted].sum()
    torch.testing.assert_close(lost, wanted)


def test_similarities_that_are_all_equal_are_no_hits():
    assert everyone([1, 2, 3], [1, 2, 3]).cross_entropy(torch.zeros(3, 3))[1] == 0


def test_matches_that_do_not_count_are_seen_by_nobody():
    keys = torch.arange(6).reshape(2, 3)
    seen = Everyone.of(keys, counted=False)
    assert (seen.ranks.total, len(seen.own), seen.others.shape) == (0, 0, (0, 0))


def test_recall_is_that_of_a_sorted_list():
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.3, 0.2, 0.1]])
    right = torch.tensor([[False, False, True], [True, False, True]])
    found = recalls(scores, right, depths=(1, 2, 3))
    assert found == {"recall_at_1": 0.5, "recall_at_2": 1.0, "recall_at_3": 1.0}


@pytest.mark.parametrize(
    ("objective", "encoder", "why"),
    [
        ({"pool": "cls"}, {"select": "patch"}, "gives no class token"),
        ({"dim": None}, {"select": "cls_patch"}, "a picture is 24 wide and a text 32"),
        ({"pool": "attention", "heads": 5}, {"select": "patch"}, "5 cannot share 24 numbers"),
    ],
)
def test_towers_that_cannot_meet_are_refused(
    objective: dict[str, Any], encoder: dict[str, Any], why: str
):
    seeing: Any = validate_part("encoder", {"type": "clip", "config": VISION} | encoder)
    wide = TOWER | {"hidden_size": 32, "max_position_embeddings": 9}
    reading: Any = validate_part(
        "text_encoder", {"type": "clip", "config": wide, "tokenizer": {"vocab_size": 300}}
    )
    model = model_of(seeing.build(), reading.build(tokenizer_object=tiny_tokenizer()))
    part: Any = validate_part("objective", {"type": "clip"} | objective)
    with pytest.raises(PartError, match=why):
        part.build().join(model)
