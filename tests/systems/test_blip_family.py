"""BLIP's and ALBEF's recipes, shrunk, train every part; what learnt captions, writes them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from isthmus import load
from isthmus.core import checkpoint
from isthmus.core.contracts import Events, StepEnded
from isthmus.core.train.run import run
from tests.core.train.match_gradients import BERT
from tests.core.train.tiny import CLIP, source, write_data

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SMALL = {"model": None, "dropout": 0.0, **BERT}
READERS = {"blip": ("llm", SMALL), "albef": ("text_encoder", SMALL | {"alone": 1})}
OWN = {
    "blip": {"of": ["itc", "itm", "itg"], "own": {"of.itm.head.weight"}},
    "albef": {"of": ["itc", "itm", "mlm"], "own": {"of.itm.head.weight", "of.mlm.head.bias"}},
}


class Losses(Events):
    def __init__(self) -> None:
        self.heard: list[float] = []

    def step_ended(self, event: StepEnded) -> None:
        self.heard.append(event.loss)


def shrunk(name: str, data: Path, out: Path, stages: int, steps: int) -> list[str]:
    reader, fields = READERS[name]
    settings: dict[str, Any] = {
        "model.encoder": CLIP | {"layer": -1, "select": "cls_patch"},
        **{f"model.{reader}.{key}": value for key, value in fields.items()},
        **{"out": str(out), "precision": "fp32", "threads": 1},
        "stages.0.objective.momentum": {"warmup": 2, "queue": 8},
    }
    for index in range(stages):
        settings |= {
            f"stages.{index}.data": [source(data)],
            f"stages.{index}.batch": {"samples": 4},
            f"stages.{index}.optimizer.lr": 3e-3,
            f"stages.{index}.schedule.warmup": 0,
            f"stages.{index}.epochs": None,
            f"stages.{index}.steps": steps,
        }
    return [f"{place}={json.dumps(value)}" for place, value in settings.items()]


@pytest.mark.parametrize(("name", "stages"), [("blip", 2), ("albef", 1)])
def test_recipe_trains_every_part(name: str, stages: int, tmp_path: Path):
    write_data(tmp_path, 8)
    losses = Losses()
    changes = shrunk(name, tmp_path, tmp_path / "run", stages, steps=3)
    last = run(EXAMPLES / f"{name}.yaml", overrides=changes, events=losses)
    assert len(losses.heard) == 3 * stages
    assert all(map(math.isfinite, losses.heard))
    first = checkpoint.load(tmp_path / "run" / "checkpoints" / "01-pretrain-000003")
    reader = READERS[name][0]
    assert sorted(first.model().parts()) == sorted(["encoder", reader])
    kept = first.objective()
    assert kept.keys() >= OWN[name]["own"]
    copied = {key.split(".")[2] for key in kept if key.startswith("momentum.parts.")}
    assert copied == {"encoder", reader}
    if name == "blip":
        pictures = sorted((tmp_path / "pictures").glob("*.png"))[:2]
        talks = [
            [{"role": "user", "content": [{"type": "image", "image": str(picture)}]}]
            for picture in pictures
        ]
        answers = load(last).full_answers(talks, max_new_tokens=4)
        assert all(answer.tokens <= 4 and answer.prompt_tokens == 1 for answer in answers)


@pytest.mark.slow
def test_blip_learns_to_name_what_it_sees(tmp_path: Path):
    write_data(tmp_path, 8)
    changes = shrunk("blip", tmp_path, tmp_path / "run", 2, steps=120)
    changes += ["stages.0.batch.samples=8", "stages.0.optimizer.clip=null"]
    last = run(EXAMPLES / "blip.yaml", overrides=changes)
    records = json.loads((tmp_path / "data.json").read_text())
    talks = [
        [
            {
                "role": "user",
                "content": [{"type": "image", "image": str(tmp_path / "pictures" / row["image"])}],
            }
        ]
        for row in records
    ]
    wanted = [row["conversations"][1]["value"] for row in records]
    assert load(last).answer(talks, max_new_tokens=16) == wanted
