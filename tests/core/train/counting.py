"""A tiny model, a pack for it, and what torch counts of a step."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from isthmus.core.config import load
from isthmus.core.contracts import Images, Pack, Segments
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.layers import Layers
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.recompute import Level, again
from isthmus.plugins.objectives.lm import LanguageModelling
from isthmus.plugins.tuners.full import Full
from isthmus.plugins.tuners.lora import Lora
from isthmus.testing import tiny_pictures, tiny_texts, tiny_tokenizer

CLIP = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,  # heads together are wider than the model
}
GPT2 = {
    "model_type": "gpt2",
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}
LENGTHS = (61, 37, 23)
"""So different that attention computes each by itself, with nothing repeated."""


def model(
    llm: dict[str, Any],
    encoder: dict[str, Any],
    connector: str | dict[str, Any] = "mlp",
    **more: Any,
) -> VisionLanguageModel:
    causal = {"type": "causal", "config": llm, **more}
    values = {"encoder": encoder, "connector": connector, "llm": causal}
    config = load(ModelConfig, values)
    return build_model(config, tokenizer=tiny_tokenizer(), texts=tiny_texts)


def batch(made: VisionLanguageModel, pictures: int = 2) -> Pack:
    """Three samples, two of which have a picture, and 20 supervised tokens."""
    tokens = sum(LENGTHS)
    images = Images.of(tiny_pictures()[:pictures], made.encoder.transform) if pictures else None
    grids = images.grids if images else ()
    places = sum(made.connector.config.num_tokens(each) for each in grids)
    targets = torch.full((tokens,), Pack.IGNORE)
    targets[50:60] = targets[110:120] = 7
    return Pack(
        ids=torch.arange(tokens) % 200 + 5,
        targets=targets,
        segments=Segments(LENGTHS),
        visual=torch.arange(places),
        images=images,
        stands=torch.tensor([(0, 0)] * pictures).reshape(-1, 2),
        samples=("a", "b", "c"),
        weight=20.0,
    )


def executed(made: VisionLanguageModel, pack: Pack) -> int:
    """What torch counts, with attention written out: a fused kernel's backward pass computes
    its scores once more, which is no part of the model."""
    made.train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        LanguageModelling.Config().build()(made, pack).sum.backward()
    return counter.get_total_flops()


def executed_again(made: VisionLanguageModel, batch: Any, level: Level) -> tuple[int, Layers]:
    """What torch counts where layers are computed a second time, to their end, and the layers."""
    layers = Layers(made)
    layers.recompute(partial(again, level))
    with set_checkpoint_early_stop(False):
        return executed(made, batch), layers


STAGES = {
    "connector": {"connector": Full.Config()},
    "connector and llm": {"connector": Full.Config(), "llm": Full.Config()},
    "lora": {"llm": Lora.Config(r=4)},
    "lora and connector": {"llm": Lora.Config(r=4), "connector": Full.Config()},
    "everything": {"encoder": Full.Config(), "connector": Full.Config(), "llm": Full.Config()},
    "encoder": {"encoder": Full.Config()},
}
