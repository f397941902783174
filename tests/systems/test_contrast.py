"""CLIP and SigLIP as their examples say, made small: a few steps, what they save, and an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import isthmus
from isthmus.core import checkpoint
from isthmus.core.assistant import classifier_of
from isthmus.core.model.towers import TwoTowersConfig
from isthmus.core.train.config import RunConfig

EXAMPLES = Path(__file__).parents[2] / "examples"
COLOURS = ("red", "green", "blue", "white")
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of one colour each, and what they are called."""
    folder = tmp_path_factory.mktemp("colours")
    records = []
    for number, colour in enumerate(8 * COLOURS):
        Image.new("RGB", (20, 20 + number), colour).save(folder / f"{number}.png")
        said = [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": f"all {colour}"},
        ]
        records.append({"id": str(number), "image": f"{number}.png", "conversations": said})
    (folder / "captions.json").write_text(json.dumps(records))
    return folder


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_the_example_made_small_learns_and_chooses(name: str, data: Path, tmp_path: Path) -> None:
    parts = ("model.encoder", "model.text_encoder")
    smaller = {f"{part}.config.{key}": value for part in parts for key, value in SMALL.items()}
    smaller |= {f"{part}.config.num_attention_heads": 2 for part in parts}
    smaller |= {f"{part}.init": "scaled" for part in parts}
    smaller |= {
        "model.encoder.config.image_size": 32,
        "model.encoder.config.patch_size": 16,
        "model.text_encoder.tokenizer": "{vocab_size: 300}",
        "model.text_encoder.config.vocab_size": 300,
        "stages.0.data.0.file": data / "captions.json",
        "stages.0.data.0.images": data,
        "stages.0.validation.data.0.file": data / "captions.json",
        "stages.0.validation.data.0.images": data,
        "stages.0.batch.samples": 16,
        "stages.0.optimizer.lr": 3e-3,
        "stages.0.schedule.warmup": 2,
        "stages.0.epochs": "null",
        "stages.0.steps": 60,
        "precision": "fp32",
        "threads": 1,
        "out": tmp_path / "run",
    }
    if name == "siglip":  # so few steps do not unlearn that nearly every text is wrong
        smaller["stages.0.objective.bias"] = -1.0
    overrides = [f"{place}={value}" for place, value in smaller.items()]
    folder = isthmus.run(EXAMPLES / f"{name}.yaml", overrides=overrides)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows[-2]["loss"] < rows[0]["loss"]
    # Eight pictures of 32 have the text that is asked for, and one text of four is a picture's.
    assert rows[-1]["val_image_to_text_times_chance_at_1"] == pytest.approx(4)
    opened = checkpoint.load(folder)
    assert {key.split(".")[0] for key in opened.objective()} >= {"scale", "towers"}
    pictures = [str(data / f"{number}.png") for number in range(4)]
    prompts = ("all {}", "it is all {}")
    assert classifier_of(opened, "cpu", prompts).classify(pictures, COLOURS) == list(COLOURS)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_the_example_compares_as_its_family_does(name: str) -> None:
    run = isthmus.core.config.load(RunConfig, EXAMPLES / f"{name}.yaml")
    objective = run.stages[0].objective
    assert isinstance(objective, TwoTowersConfig)
    assert objective.owner.name == name
    assert objective.pool == {"clip": "cls", "siglip": "attention"}[name]
