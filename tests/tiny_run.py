"""The folder of a run as training leaves it, of a model with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from isthmus.core import checkpoint
from isthmus.core import config as configs
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
MODEL = {
    "encoder": {"type": "clip", "config": SHAPE | {"image_size": 8, "patch_size": 4}},
    "connector": {"type": "mlp"},
    "llm": {
        "type": "causal",
        "config": SHAPE | {"model_type": "llama"},
        "tokenizer": {"vocab_size": 300},
    },
}
TEXTS = ("USER: what is in the picture? ASSISTANT: a cat on a mat", "two dogs in the sun")


def save_tiny_run(
    folder: Path, model: dict[str, Any] | None = None, seed: int = 0, **run: Any
) -> Path:
    """A run with one checkpoint in `folder`; `run` replaces settings of its YAML."""
    torch.set_num_threads(1)
    config = configs.load(ModelConfig, MODEL if model is None else model)
    built = build_model(config, texts=lambda: iter(TEXTS), seed=seed)
    settings = {"template": "vicuna_v1", "stages": [{"name": "align"}], **run}
    checkpoint.save(
        folder / "checkpoints" / "01-align-000001",
        built,
        settings,
        trainer=checkpoint.TrainerState("align", 0, 1),
    )
    return folder
