"""Every example of a system trains: a user puts tiny parts in place of the published ones by
`--set` and runs it, all stages, with nothing else of the YAML changed but data, sizes and lengths.

A new system is a line in SYSTEMS.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from isthmus.core import checkpoint
from isthmus.core.config import load
from isthmus.core.contracts import CheckpointSaved, Events, StepEnded, Tuner
from isthmus.core.train.config import RunConfig, StageConfig
from isthmus.core.train.run import run
from tests.core.train.tiny import SHAPE, write_data

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
VISION = SHAPE | {"image_size": 8, "patch_size": 4}
DINO = {k: v for k, v in VISION.items() if k != "intermediate_size"} | {"mlp_ratio": 2}
LLAMA = SHAPE | {"model_type": "llama", "max_position_embeddings": 512}
OPT = {
    **{"model_type": "opt", "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 24},
    **{"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 512},
}
T5 = {**{"model_type": "t5", "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}}
VIT = {"image_size": 8, "patch_size": 4, "dim": 16, "depth": 2, "heads": 2}
OWN = {"vocab_size": 300}
"""A tokenizer of the run's own text."""


def scratch(part: str, config: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Instead of published weights, an inline configuration; other fields stay as the YAML has
    them."""
    values = {"model": None, "config": config, **fields}
    return {f"model.{part}.{name}": value for name, value in values.items()}


def former(**fields: Any) -> dict[str, Any]:
    """A Q-Former of two layers."""
    sizes = {"dim": 16, "layers": 2, "heads": 2, "hidden": 24, "positions": 48, "queries": 3}
    values = {"model": None, **sizes, **fields}
    return {f"model.connector.{name}": value for name, value in values.items()}


def bert(part: str, **fields: Any) -> dict[str, Any]:
    """A BERT of two layers."""
    sizes = {"dim": 16, "layers": 2, "heads": 2, "hidden": 24, "positions": 48}
    values = {"model": None, **sizes, "tokenizer": OWN, **fields}
    return {f"model.{part}.{name}": value for name, value in values.items()}


CLIP = scratch("encoder", VISION)
TIMM = {
    "model.encoder.model": "vit_tiny_patch16_224",
    "model.encoder.weights": None,
    "model.encoder.image_size": 16,
    "model.encoder.options": {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2},
}
TEXT = SHAPE | {"max_position_embeddings": 48}
MOMENTUM = {"warmup": 2, "queue": 8}
LLM = scratch("llm", LLAMA, tokenizer=OWN)
SYSTEMS: dict[str, dict[str, Any]] = {
    "llava": CLIP | LLM,
    "llava-1.5": CLIP | LLM,
    "llava-1.5-lora": CLIP | LLM | {"stages.1.train.llm.r": 2},
    # What is trained on the run's own text comes with no chat template.
    "llava-next": scratch("encoder.encoder", VISION) | LLM | {"template": "vicuna_v1"},
    "fused-encoders": scratch("encoder.encoders.0", VISION)
    | scratch("encoder.encoders.1", DINO)
    | LLM,
    "blip2-opt": CLIP | former(tokenizer=OWN) | scratch("llm", OPT, tokenizer=OWN),
    "blip2-flan-t5": CLIP | former() | scratch("llm", T5, tokenizer=OWN),
    "instructblip": CLIP | former(tokenizer=OWN) | LLM,
    "flamingo": CLIP
    | {f"model.connector.{name}": 2 for name in ("heads", "states.queries", "states.layers")}
    | LLM,
    "simvlm": {f"model.encoder.{name}": size for name, size in VIT.items()} | LLM,
    "clip": CLIP | scratch("text_encoder", TEXT, tokenizer=OWN),
    "siglip": CLIP
    | scratch("text_encoder", TEXT | {"vocab_size": 300}, tokenizer=OWN)
    | {"stages.0.objective.heads": 2},
    "blip": TIMM | bert("llm") | {"stages.0.objective.momentum": MOMENTUM},
    "albef": TIMM
    | bert("text_encoder", alone=1)
    | {"stages.0.objective.momentum": MOMENTUM, "stages.0.objective.of.2.share": 0.5},
    "pali": scratch("encoder", VISION) | scratch("llm", T5 | {"model_type": "mt5"}, tokenizer=OWN),
}
"""Example -> what is put in place of what it loads, and of what cannot be without that."""


def short(stage: StageConfig, index: int, data: Path) -> dict[str, Any]:
    """Two steps on a few pictures, at the full learning rate from the first one on."""
    place = f"stages.{index}"
    source = {"type": "llava", "file": str(data / "data.json"), "images": str(data / "pictures")}
    pieces = {"micro_samples": 2} if stage.batch.micro_samples else {}
    held_out = {f"{place}.validation.data": [source]} if stage.validation else {}
    return held_out | {
        f"{place}.data": [source],
        f"{place}.batch": {"samples": 4, **pieces},
        f"{place}.schedule.warmup": 0,
        f"{place}.epochs": None,
        f"{place}.steps": 2,
        f"{place}.save_every": 1,
    }


@dataclass
class Heard(Events):
    """Losses, and every part's weights as each step left them, by stage."""

    losses: list[float] = field(default_factory=list)
    weights: dict[str, list[dict[str, dict[str, Tensor]]]] = field(default_factory=dict)

    def step_ended(self, event: StepEnded) -> None:
        self.losses.append(event.loss)

    def checkpoint_saved(self, event: CheckpointSaved) -> None:
        opened = checkpoint.load(event.folder)
        parts = opened.model().parts()
        found = {name: dict(part.state_dict()) for name, part in parts.items()}
        self.weights.setdefault(opened.trainer.stage, []).append(found)


def learnt(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of what is not as it was; adapters that were merged are gone."""
    same = {name for name in before.keys() & after.keys() if torch.equal(before[name], after[name])}
    return (before.keys() | after.keys()) - same


@pytest.mark.parametrize("name", SYSTEMS)
def test_example_trains_what_it_says_and_nothing_else(name: str, tmp_path: Path) -> None:
    file = EXAMPLES / f"{name}.yaml"
    write_data(tmp_path, 6)
    settings = {"out": str(tmp_path / "run"), "precision": "fp32", "workers": 0, "threads": 1}
    settings |= {"save": "sync", **SYSTEMS[name]}
    stages = load(RunConfig, file).stages
    for index, stage in enumerate(stages):
        settings |= short(stage, index, tmp_path)
    heard = Heard()
    run(file, overrides=[f"{k}={json.dumps(v)}" for k, v in settings.items()], events=heard)
    assert len(heard.losses) == 2 * len(stages)
    assert all(map(math.isfinite, heard.losses))
    for stage in stages:
        first, last = heard.weights[stage.name]
        assert first.keys() >= stage.train.keys()
        for part in first:
            _check(stage.train.get(part), learnt(first[part], last[part]))


def _check(tuner: Tuner.Config | None, changed: set[str]) -> None:
    """What changed in a part that this tuner, or none, was given."""
    assert bool(changed) == (tuner is not None)
    modules = getattr(tuner, "modules", None)
    if modules is not None:
        assert {name.rpartition(".")[0] for name in changed} == set(modules)


def test_every_example_of_a_system_is_in_the_table() -> None:
    """Those that are small already, and train in minutes as they are, aside."""
    files = {file.stem for file in EXAMPLES.glob("*.yaml") if "stages:" in file.read_text()}
    assert files - {"flickr8k", "flickr8k-clip"} == SYSTEMS.keys()
