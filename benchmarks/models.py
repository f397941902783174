"""One LLaVA twice: isthmus' parts and transformers' LlavaForConditionalGeneration, same weights.

Weights are random; their values do not change what a step costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.config import load
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.testing import tiny_tokenizer

CLIP_LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}


@dataclass(frozen=True)
class Preset:
    """Shapes of a model, and how many samples a step of it has."""

    text: dict[str, Any]
    vision: dict[str, Any] = field(default_factory=lambda: CLIP_LARGE)
    samples: int = 96

    @property
    def visual(self) -> int:
        """Visual tokens of a picture."""
        return (self.vision["image_size"] // self.vision["patch_size"]) ** 2

    @property
    def placeholder(self) -> int:
        """Id that stands where a visual token goes, in transformers' model; the last one."""
        return self.text["vocab_size"] - 1

    @property
    def head_share(self) -> float:
        """The head's part of the LLM's matrices: what a framework wins by rows it leaves out."""
        text = self.text
        hidden, heads = text["hidden_size"], text["num_attention_heads"]
        narrow = hidden * text["num_key_value_heads"] // heads
        layer = hidden * (2 * hidden + 2 * narrow + 3 * text["intermediate_size"])
        head = hidden * text["vocab_size"]
        return head / (head + text["num_hidden_layers"] * layer)


def llama(hidden: int, inner: int, layers: int, heads: int, vocabulary: int) -> dict[str, Any]:
    """Shapes of a LLaMA whose head is a matrix of its own."""
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    }


def clip(hidden: int, layers: int, heads: int, side: int) -> dict[str, Any]:
    """Shapes of a CLIP tower that sees `side` x `side` patches."""
    return {
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "image_size": 14 * side,
        "patch_size": 14,
    }


QWEN_HALF = llama(896, 4864, 24, 14, 151_936) | {"model_type": "qwen2", "num_key_value_heads": 2}

PRESETS = {
    "tiny": Preset(llama(192, 512, 6, 6, 4096), clip(144, 4, 3, 8)),
    "quick": Preset(llama(64, 176, 2, 4, 384), clip(48, 2, 2, 8)),
    "vocabulary": Preset(llama(128, 344, 2, 4, 151_936), clip(48, 2, 2, 8), samples=32),
    "0.5b": Preset(QWEN_HALF),
    "7b": Preset(llama(4096, 11008, 32, 32, 32_064)),
}
"""`tiny` is for one CPU core, `quick` for tests, `vocabulary` has a head as large as Qwen2.5's;
`0.5b` is Qwen2.5-0.5B and `7b` Vicuna-7B, both with CLIP ViT-L/14 at 336 pixels, LLaVA-1.5's
eye."""


def isthmus_model(preset: Preset, stage: int) -> VisionLanguageModel:
    """The model out of isthmus' parts; stage 1 trains the connector, stage 2 the LLM as well."""
    values = {
        "encoder": {"type": "clip", "config": preset.vision, "preprocess": "resize"},
        "connector": "mlp",
        "llm": {"type": "causal", "config": preset.text},
    }
    model = build_model(load(ModelConfig, values), tokenizer=tiny_tokenizer(), seed=0)
    model.requires_grad_(False)
    for module in trained(model, stage):
        module.requires_grad_(True)
    return model


def trained(model: Any, stage: int) -> list[nn.Module]:
    """What a stage trains, in the same order for either model."""
    if isinstance(model, VisionLanguageModel):
        decoder = model.llm.model
        first, second = model.connector.layers[0], model.connector.layers[2]
        llm = [decoder.model, decoder.lm_head]
    else:
        projector = model.model.multi_modal_projector
        first, second = projector.linear_1, projector.linear_2
        llm = [model.model.language_model, model.lm_head]
    return [first, second] + (llm if stage == 2 else [])


def parameters(model: Any, stage: int) -> Iterator[Tensor]:
    """What learns, in the same order for either model."""
    for module in trained(model, stage):
        yield from module.parameters()


@torch.no_grad()
def transformers_model(ours: VisionLanguageModel, preset: Preset, stage: int) -> Any:
    """transformers' model with the weights of isthmus'; the layers above the one whose features
    are used, which it computes as well, stay as drawn."""
    from transformers import CONFIG_MAPPING, LlavaConfig, LlavaForConditionalGeneration

    text = {key: value for key, value in preset.text.items() if key != "model_type"}
    theirs = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CONFIG_MAPPING["clip_vision_model"](**preset.vision),
            text_config=CONFIG_MAPPING[preset.text["model_type"]](**text),
            image_token_index=preset.placeholder,
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
            tie_word_embeddings=False,
        )
    )
    tower, encoder = theirs.model.vision_tower, ours.encoder
    tower.embeddings.load_state_dict(encoder.embeddings.state_dict())
    tower.pre_layrnorm.load_state_dict(encoder.before.state_dict())
    tower.encoder.load_state_dict(encoder.blocks.state_dict(), strict=False)
    for mine, other in zip(trained(ours, 2), trained(theirs, 2), strict=True):
        other.load_state_dict(mine.state_dict())
    # With a cache, transformers forgets that restarting positions mean separate samples.
    theirs.config.text_config.use_cache = False
    theirs.requires_grad_(False)
    for module in trained(theirs, stage):
        module.requires_grad_(True)
    return theirs
