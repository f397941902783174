"""Pictures with noisy texts, a captioner and a filter of random weights, and what was rejected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from isthmus.core import checkpoint
from isthmus.core import config as configs
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.synthesize.capfilt import CapFiltConfig
from isthmus.testing import tiny_texts
from tests.synthesize.toys import lines
from tests.tiny_run import SHAPE

ENCODER = {"type": "clip", "config": SHAPE | {"image_size": 8, "patch_size": 4}}
QFORMER = {
    **{"type": "qformer", "text": "objective", "queries": 2, "dim": 32, "layers": 2, "heads": 2},
    **{"hidden": 48, "positions": 40, "dropout": 0.0, "tokenizer": {"vocab_size": 300}},
}
LLM = {
    "type": "causal",
    "config": SHAPE | {"model_type": "llama"},
    "tokenizer": {"vocab_size": 300},
}
MED = {
    **{"type": "med", "dim": 32, "layers": 2, "heads": 2, "hidden": 48, "positions": 80},
    **{"dropout": 0.0, "tokenizer": {"vocab_size": 300}},
}
MATCHING = {"type": "mix", "of": [{"type": "itc", "dim": 8}, {"type": "itm"}]}


STAGES = [
    {"name": "represent", "objective": MATCHING, "template": "plain"},
    {"name": "speak", "template": "vicuna_v1"},
]


def save_captioner(run: Path) -> Path:
    """A run whose last stage taught its model to answer, and to come to an end soon."""
    torch.set_num_threads(1)
    model = _built({"encoder": ENCODER, "connector": {"type": "mlp"}, "llm": LLM}, seed=1)
    head = model.llm.model.lm_head.weight.data
    head[model.llm.tokenizer.eos_token_id] *= 4
    return _saved(run, model, 1, {})


def save_filter(run: Path) -> Path:
    """A run that has come to the end of its first stage, which learnt to match."""
    torch.set_num_threads(1)
    model = _built({"encoder": ENCODER, "connector": QFORMER}, seed=2)
    objective = _joined(model, seed=3)
    objective.each[1].head.weight.data *= 4
    return _saved(run, model, 0, objective.state_dict())


def save_blip(run: Path) -> Path:
    """A BLIP: one stage, whose MED writes captions and tells which ones belong."""
    torch.set_num_threads(1)
    model = _built({"encoder": ENCODER, "llm": MED}, seed=4)
    return _saved(run, model, 0, _joined(model, seed=5).state_dict())


def _built(parts: dict[str, Any], seed: int) -> Any:
    return build_model(configs.load(ModelConfig, parts), texts=tiny_texts, seed=seed)


def _joined(model: Any, seed: int) -> Any:
    """What compares the model's pictures and texts, with heads of random weights."""
    objective: Any = configs.validate_part("objective", MATCHING).build()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective.join(model)
    return objective


def _saved(run: Path, model: Any, stage: int, heads: Any) -> Path:
    name = str(STAGES[stage]["name"])
    state = checkpoint.TrainerState(name, stage, 1, finished=True)
    folder = run / "checkpoints" / checkpoint.checkpoint_name(stage, name, 1)
    checkpoint.save(folder, model, {"stages": STAGES}, trainer=state, objective=heads)
    return run


def row(number: int, text: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"r{number:02}",
        "image": f"{number}.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is in the picture?"},
            {"from": "gpt", "value": text},
        ],
    } | more


def pictures(folder: Path, count: int) -> Path:
    """So many, each of its own noise."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = torch.Generator().manual_seed(0)
    for number in range(count):
        noise = torch.randint(256, (8, 8, 3), dtype=torch.uint8, generator=draws)
        Image.fromarray(noise.numpy()).save(folder / f"{number}.png")
    return folder


def rows(count: int) -> list[dict[str, Any]]:
    said = list(tiny_texts())
    return [row(number, f"{said[number % len(said)]} {number}") for number in range(count)]


def config(
    folder: Path, models: Path, said: list[dict[str, Any]] | None = None, **settings: Any
) -> CapFiltConfig:
    """CapFilt on these rows, into `folder/out`, by the models that `models` has."""
    said = rows(11) if said is None else said
    images = pictures(folder / "images", len(said))
    file = lines(folder / "noisy.jsonl", said)
    made = {
        "data": [{"type": "llava", "file": str(file), "images": str(images)}],
        "images": str(images),
        "captioner": {"model": str(models / "captioner"), "max_new_tokens": 24},
        "filter": {"model": str(models / "filter")},
        "batch_size": 4,
        "out": str(folder / "out"),
    }
    return configs.load(CapFiltConfig, made | settings)


def rejected(folder: Path) -> list[dict[str, Any]]:
    """The texts that were not kept, and why."""
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().split("\n")[:-1]]
