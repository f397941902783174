"""The whole model beside transformers' LlavaForConditionalGeneration, on the same weights.

transformers pads and scatters; we lay samples end to end and splice. Logits and greedy answers
must be the same for 0, 1 and 2 images, in one batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from isthmus.core.contracts import Images, Pack, Segments
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.generate import Prompt, Stops, generate
from isthmus.core.model.settings import Settings
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.plugins.connectors.mlp import Mlp
from isthmus.plugins.encoders.clip import Clip
from isthmus.plugins.llms.causal import Causal
from isthmus.testing import tiny_pictures, tiny_tokenizer

IMAGE, PAD = 290, 0
PLACES = 16
VISION = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "vocab_size": 300,
}
PICTURES = tiny_pictures()
SAMPLES = [
    [3, 40, 41, 42, 43, 44, 45],
    [3, 50, *[IMAGE] * PLACES, 51, 52, 53],
    [3, *[IMAGE] * PLACES, 60, 61, *[IMAGE] * PLACES, 62, 63, 64, 65],
]
"""Ids of three samples, with 0, 1 and 2 images."""
OF_SAMPLE = [[], [0], [1, 2]]
"""Pictures of each."""


@pytest.fixture(scope="module")
def models() -> tuple[VisionLanguageModel, Any]:
    """Ours and transformers', with the same weights, drawn large."""
    config = ModelConfig(
        encoder=Clip.Config(config=VISION, layer=-2, preprocess="pad"),
        connector=Mlp.Config(depth=2),
        llm=Causal.Config(config={"model_type": "llama", **TEXT}),
    )
    ours = build_model(config, tokenizer=tiny_tokenizer()).eval()
    theirs = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**VISION),
            text_config=LlamaConfig(**TEXT),
            image_token_index=IMAGE,
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
        )
    ).eval()
    _copy(ours, theirs)
    return ours, theirs


@torch.no_grad()
def _copy(ours: VisionLanguageModel, theirs: Any) -> None:
    """Our weights into transformers' model; what it has beyond ours is never used."""
    tower, llm = theirs.model.vision_tower, theirs.model.language_model
    tower.embeddings.load_state_dict(ours.encoder.embeddings.state_dict())
    tower.pre_layrnorm.load_state_dict(ours.encoder.before.state_dict())
    tower.encoder.load_state_dict(ours.encoder.blocks.state_dict(), strict=False)
    first, second = ours.connector.layers[0], ours.connector.layers[2]
    theirs.model.multi_modal_projector.linear_1.load_state_dict(first.state_dict())
    theirs.model.multi_modal_projector.linear_2.load_state_dict(second.state_dict())
    llm.load_state_dict(ours.llm.model.model.state_dict())
    theirs.lm_head.load_state_dict(ours.llm.model.lm_head.state_dict())


def images(ours: VisionLanguageModel, which: list[int]) -> Images | None:
    chosen = [PICTURES[index] for index in which]
    return Images.of(chosen, ours.encoder.transform) if chosen else None


def pixel_values(ours: VisionLanguageModel, which: list[int]) -> Tensor | None:
    found = images(ours, which)
    if found is None:
        return None
    mean, std = (torch.tensor(x)[:, None, None] for x in (Clip.mean, Clip.std))
    return (found.pixels / 255 - mean) / std


def pack(ours: VisionLanguageModel, samples: list[int]) -> Pack:
    ids = torch.tensor([token for index in samples for token in SAMPLES[index]])
    return Pack(
        ids=torch.where(ids == IMAGE, -1, ids).clamp(min=0),
        targets=ids,
        segments=Segments(tuple(len(SAMPLES[index]) for index in samples)),
        visual=(ids == IMAGE).nonzero()[:, 0],
        images=images(ours, [p for index in samples for p in OF_SAMPLE[index]]),
        stands=torch.tensor(
            [(row, 0) for row, index in enumerate(samples) for _ in OF_SAMPLE[index]]
        ),
        samples=tuple(str(index) for index in samples),
        weight=1.0,
    )


def prompt(ours: VisionLanguageModel, index: int) -> Prompt:
    ids = torch.tensor(SAMPLES[index])
    visual = (ids == IMAGE).nonzero()[:, 0]
    return Prompt(ids, visual, images(ours, OF_SAMPLE[index]))


@torch.no_grad()
def their_logits(ours: VisionLanguageModel, theirs: Any, samples: list[int]) -> Tensor:
    """Logits of a right-padded batch, the padding taken out."""
    longest = max(len(SAMPLES[index]) for index in samples)
    ids = torch.full((len(samples), longest), PAD)
    mask = torch.zeros_like(ids)
    for row, index in enumerate(samples):
        ids[row, : len(SAMPLES[index])] = torch.tensor(SAMPLES[index])
        mask[row, : len(SAMPLES[index])] = 1
    which = [p for index in samples for p in OF_SAMPLE[index]]
    given = {"pixel_values": pixel_values(ours, which)} if which else {}
    return theirs(input_ids=ids, attention_mask=mask, **given).logits[mask.bool()]


@pytest.mark.parametrize("samples", [[0], [1], [2], [0, 1, 2], [2, 0, 1, 1]])
def test_logits_are_those_of_transformers_llava(models, samples: list[int]) -> None:
    ours, theirs = models
    with torch.no_grad():
        got = ours.llm.head(ours.hidden(pack(ours, samples)))
    wanted = their_logits(ours, theirs, samples)
    assert got.shape == wanted.shape
    assert (got - wanted).norm() < 1e-5 * wanted.norm()
    assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_images_matter_to_both(models) -> None:
    """Without this, equal logits could mean that neither looks."""
    ours, _ = models
    seen = pack(ours, [1])
    other = Images.of([PICTURES[3]], ours.encoder.transform)
    with torch.no_grad():
        moved = ours.hidden(seen) - ours.hidden(replace(seen, images=other))
    assert not moved[:2].any()
    assert (moved[2:].norm(dim=1) > 1e-3).all()


def test_greedy_answers_are_those_of_transformers_llava(models) -> None:
    ours, theirs = models
    prompts = [prompt(ours, index) for index in range(3)]
    answers = generate(ours, prompts, Settings(max_new_tokens=12), Stops())
    for index, answer in enumerate(answers):
        given = {}
        if OF_SAMPLE[index]:
            given["pixel_values"] = pixel_values(ours, OF_SAMPLE[index])
        ids = torch.tensor([SAMPLES[index]])
        wanted = theirs.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=PAD,
            **given,
        )
        assert answer.ids == tuple(wanted[0, ids.shape[1] :].tolist())


def test_gradients_of_a_pack_are_those_of_transformers_padded_batch(models) -> None:
    ours, theirs = models
    batch = pack(ours, [0, 1, 2])
    keep = batch.ids != 0
    ours.zero_grad()
    theirs.zero_grad()
    logits = ours.llm.head(ours.hidden(batch))
    direction = torch.randn_like(logits) * keep[:, None]
    (logits * direction).sum().backward()

    longest = max(map(len, SAMPLES))
    ids = torch.tensor([sample + [PAD] * (longest - len(sample)) for sample in SAMPLES])
    mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in SAMPLES])
    output = theirs(
        input_ids=ids, attention_mask=mask, pixel_values=pixel_values(ours, [0, 1, 2])
    ).logits[mask.bool()]
    (output * direction).sum().backward()

    pairs = {
        "patches": (
            ours.encoder.embeddings.patch_embedding,
            theirs.model.vision_tower.embeddings.patch_embedding,
        ),
        "connector": (ours.connector.layers[0], theirs.model.multi_modal_projector.linear_1),
        "first block": (
            ours.llm.decoder_layers[0].self_attn.q_proj,
            theirs.model.language_model.layers[0].self_attn.q_proj,
        ),
        "head": (ours.llm.model.lm_head, theirs.lm_head),
    }
    for name, (mine, other) in pairs.items():
        got, wanted = mine.weight.grad, other.weight.grad
        assert (got - wanted).norm() < 1e-5 * wanted.norm(), name
