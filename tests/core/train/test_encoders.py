"""Runs with encoders built around others, and on videos: trained, resumed, kept, packed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from isthmus.core import checkpoint
from isthmus.core.config import load
from isthmus.core.model.build import build_model
from isthmus.core.train.config import RunConfig
from isthmus.core.train.features import space_of
from isthmus.core.train.run import run
from isthmus.errors import ConfigError, PartError
from tests.core.train.listeners import Crash, crash_at, metrics
from tests.core.train.tiny import CLIP, record, stage, tiny_run, write_data

VIT = {"type": "vit", "image_size": 12, "patch_size": 4, "dim": 8, "depth": 2, "heads": 2}
ENCODERS: dict[str, dict[str, Any]] = {
    "tiles": {"type": "tiles", "encoder": CLIP, "layouts": [[1, 2], [2, 1]]},
    "concat": {"type": "concat", "encoders": [CLIP, VIT]},
    "sequence": {"type": "concat", "by": "sequence", "encoders": [CLIP, VIT]},
    "vit": VIT | {"pool": "mean", "drop": 0.5},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    write_data(folder, 10, text_only=2)
    return folder


def settings(data: Path, out: Path, encoder: str, *stages: dict[str, Any], **run: Any) -> Any:
    values = tiny_run(data, *(stages or [stage(data)]), out=str(out), **run)
    return values | {"model": values["model"] | {"encoder": ENCODERS[encoder]}}


def weights(out: Path) -> dict[str, torch.Tensor]:
    last = max((out / "checkpoints").iterdir())
    files = {path.name: load_file(path) for path in (last / "model").glob("*.safetensors")}
    return {f"{file}/{n}": value for file, own in files.items() for n, value in own.items()}


def same(one: Path, other: Path) -> None:
    mine, its = weights(one), weights(other)
    assert mine.keys() == its.keys()
    assert all(torch.equal(values, its[name]) for name, values in mine.items())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_run_that_was_killed_goes_on_to_the_same_bits(data, tmp_path: Path, encoder: str):
    """With everything learning, layers computed twice and packs of several samples."""
    own = {
        "train": {"encoder": "full", "connector": "full", "llm": "full"},
        "recompute": "full",
        "batch": {"samples": 4, "micro_samples": 3},
        "save_every": 2,
    }
    for name in ("whole", "killed"):
        values = settings(data, tmp_path / name, encoder, stage(data, **own))
        if name == "whole":
            run(values)
            continue
        with pytest.raises(Crash):
            run(values, events=crash_at("align", 3))
        run(values, resume=True)
    same(tmp_path / "whole", tmp_path / "killed")
    opened = checkpoint.load(tmp_path / "whole")
    assert opened.model().encoder.name == ENCODERS[encoder]["type"]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_recomputing_changes_no_loss(data, tmp_path: Path, encoder: str):
    losses = []
    for level in ("none", "full"):
        own = {"train": {"encoder": "full", "connector": "full"}, "recompute": level}
        run(settings(data, tmp_path / level, encoder, stage(data, **own)))
        losses.append([line["loss"] for line in metrics(tmp_path / level) if "loss" in line])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0][-1] < losses[0][0]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_features_are_kept_and_read(data, tmp_path: Path, encoder: str):
    kept = {"features": {"cache": str(tmp_path / "cache")}, "epochs": 2, "steps": None}
    for name in ("fills", "reads"):
        run(settings(data, tmp_path / name, encoder, stage(data, **kept)))
    plain = {"epochs": 2, "steps": None}
    run(settings(data, tmp_path / "plain", encoder, stage(data, **plain)))
    files = list((tmp_path / "cache").rglob("*.safetensors"))
    assert sum(len(load_file(file)) for file in files) == 10
    for name in ("fills", "reads"):
        for line, its in zip(metrics(tmp_path / "plain"), metrics(tmp_path / name), strict=True):
            assert its["loss"] == pytest.approx(line["loss"], rel=1e-5)


def test_another_setting_of_an_encoder_inside_keeps_other_features():
    def space(values: dict[str, Any]) -> str:
        torch.manual_seed(0)
        model = build_model(load_model({"encoder": values}), texts=lambda: ["a"])
        return space_of(model.encoder, [], ["cpu", False])

    tiles, concat = ENCODERS["tiles"], ENCODERS["concat"]
    variants = [
        tiles,
        tiles | {"layouts": [[2, 1], [1, 2]]},
        tiles | {"encoder": CLIP | {"preprocess": "pad"}},
        tiles | {"encoder": CLIP | {"layer": -1}},
        concat,
        concat | {"encoders": [VIT, CLIP]},
        concat | {"grid": [2, 3]},
        concat | {"encoders": [CLIP | {"preprocess": "pad"}, VIT]},
        ENCODERS["sequence"],
    ]
    assert len({space(values) for values in variants}) == len(variants)
    assert space(tiles) == space(tiles)


def load_model(values: dict[str, Any]) -> Any:
    from isthmus.core.model.config import ModelConfig

    return load(ModelConfig, values)


def test_of_two_encoders_one_learns_and_the_other_keeps_every_bit(data, tmp_path: Path):
    part = {"type": "by_module", "modules": {"encoders.1": {"type": "full", "lr": 1e-2}}}
    before = {"steps": 1, "name": "before", "train": {"connector": "full"}}
    both = stage(data, train={"encoder": part, "connector": "full"})
    run(settings(data, tmp_path / "run", "concat", stage(data, **before), both))
    first = min((tmp_path / "run" / "checkpoints").iterdir())
    old = load_file(first / "model" / "encoder.safetensors")
    new = {n.removeprefix("encoder.safetensors/"): v for n, v in weights(tmp_path / "run").items()}
    moved = {name for name, value in old.items() if not torch.equal(value, new[name])}
    assert moved == {name for name in old if name.startswith("encoders.1.")}


@pytest.mark.parametrize(
    ("modules", "error", "message"),
    [
        ({"encoders.2": "full"}, PartError, r"no module 'encoders.2'. Did you mean 'encoders"),
        ({"encoders.0": "frozen"}, ConfigError, r"train\.encoder\.modules: nothing in them learns"),
        (
            {"encoders": "full", "encoders.0": "full"},
            ConfigError,
            r"encoders\.0: it lies inside 'encoders'",
        ),
    ],
)
def test_modules_that_cannot_be_tuned_so_are_named(data, tmp_path, modules, error, message):
    part = {"type": "by_module", "modules": modules}
    with pytest.raises(error, match=message):
        run(settings(data, tmp_path / "run", "concat", stage(data, train={"encoder": part})))


def test_an_unchanged_pair_of_published_encoders_is_referenced(tmp_path: Path, data: Path):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    for name in ("one", "two"):
        CLIPVisionModel(CLIPVisionConfig(**CLIP["config"])).save_pretrained(tmp_path / name)
    published = [{"type": "clip", "model": str(tmp_path / name)} for name in ("one", "two")]
    values = settings(data, tmp_path / "run", "concat")
    for encoder, referenced in (
        ({"type": "concat", "encoders": published}, True),
        ({"type": "tiles", "encoder": published[0]}, True),
        ({"type": "concat", "encoders": [published[0], VIT]}, False),
    ):
        out = tmp_path / f"run-{encoder['type']}-{referenced}"
        run(values | {"model": values["model"] | {"encoder": encoder}, "out": str(out)})
        opened = checkpoint.load(out)
        assert bool(opened.manifest.parts["encoder"].reference) == referenced
        model = opened.model()
        assert model.encoder.transform.grids((20, 30))


def film(folder: Path, count: int) -> None:
    """A bright square that moves right, or left when the name says so."""
    folder.mkdir(parents=True)
    for number in range(count):
        picture = Image.new("RGB", (24, 8))
        place = number if "left" not in folder.name else count - 1 - number
        picture.paste("white", (place * 2, 2, place * 2 + 4, 6))
        picture.save(folder / f"{number}.png")


def test_videos_train_packed_with_kept_features_and_resume(tmp_path: Path):
    records = []
    for number in range(6):
        side = ("left", "right")[number % 2]
        film(tmp_path / "clips" / f"{side}-{number}", 5 + number)
        asked = record(str(number), "<video>\nWhere does it go?", f"To the {side}.")
        records.append(asked | {"video": f"clips/{side}-{number}", "fps": 2})
    records.append(record("text", "What comes next?", "Nothing."))
    (tmp_path / "data.json").write_text(json.dumps(records))
    source = {
        "type": "video",
        "file": str(tmp_path / "data.json"),
        "images": str(tmp_path),
        "frames": 4,
    }
    own = {
        "data": [source],
        "train": {"connector": "full", "llm": "full"},
        "batch": {"tokens": 1600, "micro_tokens": 800},
        "features": {"cache": str(tmp_path / "cache")},
        "steps": None,
        "epochs": 3,
        "save_every": 1,
    }
    values = tiny_run(tmp_path, stage(tmp_path, **own))
    config = load(RunConfig, values)
    assert config.stages[0].data[0].owner.name == "video"
    run(values)
    lines = [line for line in metrics(tmp_path / "run") if "loss" in line]
    assert lines[-1]["loss"] < lines[0]["loss"]
    kept = sum(len(load_file(file)) for file in (tmp_path / "cache").rglob("*.safetensors"))
    assert 4 <= kept <= 24
    killed = values | {"out": str(tmp_path / "killed")}
    with pytest.raises(Crash):
        run(killed, events=crash_at("align", 2))
    run(killed, resume=True)
    same(tmp_path / "run", tmp_path / "killed")
