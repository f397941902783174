"""A tiny model from inline configs, and the same from a folder of published weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus.core import config as configs
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.vlm import VisionLanguageModel

CLIP = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
    "projection_dim": 8,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "tie_word_embeddings": True,
}
TEXTS = ("a cat on a mat", "two dogs in the sun", "what is in the picture?")

Build = Callable[..., VisionLanguageModel]


@pytest.fixture
def build() -> Build:
    """Builds the tiny model; arguments replace a part's settings."""

    def build(seed: int = 0, **parts: dict[str, Any]) -> VisionLanguageModel:
        torch.set_num_threads(1)
        settings: dict[str, Any] = {
            "encoder": {"type": "clip", "config": CLIP},
            "connector": {"type": "mlp"},
            "llm": {"type": "causal", "config": LLAMA, "tokenizer": {"vocab_size": 300}},
        }
        config = configs.load(ModelConfig, settings | parts)
        return build_model(config, texts=lambda: iter(TEXTS), seed=seed)

    return build


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    """A folder of CLIP weights as transformers saves them."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(5)
    CLIPVisionModel(CLIPVisionConfig(**CLIP)).save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"
