"""Stages that need other parts than those before: BLIP-2's first has no LLM, its second does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from isthmus.core.checkpoint import load
from isthmus.core.config import check
from isthmus.core.config import load as load_config
from isthmus.core.contracts import Events, StageStarted
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.train.config import RunConfig
from isthmus.core.train.lines import read_lines
from isthmus.core.train.run import run
from isthmus.errors import ConfigError, PartError
from tests.core.train.match_gradients import ALBEF, MIX, MOMENTUM, QFORMER, TOWERS
from tests.core.train.tiny import CLIP, LLAMA, source, stage, tiny_run, write_data

MODEL = {"encoder": CLIP, "connector": QFORMER, "llm": LLAMA}
REPRESENT = {"name": "represent", "objective": {"type": "mix", "of": MIX}}


class Parts(Events):
    """Remembers which parts each stage found loaded, and their learning weights."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, int]] = {}

    def stage_started(self, event: StageStarted) -> None:
        self.seen[event.stage] = {row.part: row.trainable for row in event.table}


@pytest.fixture
def two_stages(tmp_path: Path) -> dict[str, Any]:
    write_data(tmp_path, 16)
    stages = (stage(tmp_path, **REPRESENT, steps=2), stage(tmp_path, name="speak", steps=2))
    return tiny_run(tmp_path, *stages, model=MODEL)


def test_llm_is_loaded_when_a_stage_needs_it(two_stages: dict[str, Any], tmp_path: Path):
    heard = Parts()
    last = run(two_stages, events=heard)
    assert list(heard.seen["represent"]) == ["encoder", "connector", "objective"]
    assert list(heard.seen["speak"]) == ["encoder", "connector", "llm"]
    first = load(tmp_path / "run" / "checkpoints" / "01-represent-000002")
    assert sorted(first.model().parts()) == ["connector", "encoder"]
    assert first.model().connector.projection is None
    assert any(name.startswith("of.itm.head") for name in first.objective())
    assert load(last).model().connector.projection.out_features == 16
    learnt = load_file(first.folder / "model" / "connector.safetensors")
    assert load(last).model().connector.state_dict().keys() - learnt.keys() == {
        "projection.weight",
        "projection.bias",
    }


@pytest.mark.parametrize("steps", [1, 2])
def test_run_that_was_stopped_in_the_first_stage_goes_on_the_same(
    two_stages: dict[str, Any], tmp_path: Path, steps: int
):
    two_stages["stages"][0]["save_every"] = 1
    whole = run(two_stages)
    again = two_stages | {"out": str(tmp_path / "again")}
    copied(tmp_path / "run", tmp_path / "again", f"01-represent-{steps:06}")
    resumed = run(again, resume=True)
    for part in ("connector", "llm", "encoder"):
        name = f"model/{part}.safetensors"
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def copied(run: Path, to: Path, only: str) -> None:
    """A run's folder with one of its checkpoints alone."""

    shutil.copytree(run, to)
    for checkpoint in (to / "checkpoints").iterdir():
        if checkpoint.name != only:
            shutil.rmtree(checkpoint)


def test_the_next_stage_with_the_same_objective_goes_on_with_its_heads(tmp_path: Path):
    write_data(tmp_path, 16)
    fields = {
        "train": {"encoder": "full", "text_encoder": "full"},
        "objective": {"type": "clip", "dim": 8},
    }
    stages = [stage(tmp_path, name=name, steps=2, **fields) for name in ("small", "large")]
    stages[1]["optimizer"] = {"lr": 1e-30}
    last = run(tiny_run(tmp_path, *stages, model=TOWERS))
    found = load(last).objective()
    wanted = load(tmp_path / "run" / "checkpoints" / "01-small-000002").objective()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found)


@pytest.mark.parametrize(
    ("before", "after", "train"),
    [
        ({"momentum": {"queue": 4}}, {}, ["encoder", "text_encoder"]),
        ({}, {"momentum": {}}, ["encoder", "text_encoder"]),
        ({"momentum": {}}, {"momentum": {}}, ["text_encoder"]),
        ({}, {"of": MOMENTUM[:2]}, ["encoder", "text_encoder"]),
    ],
    ids=["copies end", "copies begin", "fewer parts learn", "fewer objectives"],
)
def test_heads_of_a_mix_are_handed_over_whatever_copies_it_has(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], train: list[str]
):
    write_data(tmp_path, 16)
    mix = {"type": "mix", "of": MOMENTUM}
    whole = {"train": {"encoder": "full", "text_encoder": "full"}, "objective": mix | before}
    rest = {"train": dict.fromkeys(train, "full"), "objective": mix | after}
    rest["optimizer"] = {"lr": 1e-30}
    stages = [
        stage(tmp_path, name="a", steps=2, **whole),
        stage(tmp_path, name="b", steps=1, **rest),
    ]
    found = load(run(tiny_run(tmp_path, *stages, model=ALBEF))).objective()
    wanted = load(tmp_path / "run" / "checkpoints" / "01-a-000002").objective()
    heads = [name for name in found if name.startswith("of.")]
    assert heads
    assert all(torch.equal(found[name], wanted[name]) for name in heads)
    for name in found:  # copies begin as what was learnt by then
        place = name.removeprefix("momentum.heads.")
        if place != name:
            torch.testing.assert_close(found[name], wanted[f"of.{place}"])


def test_validation_has_the_objectives_own_metrics(tmp_path: Path):
    write_data(tmp_path, 8)
    validation = {"data": [source(tmp_path)], "grounding": False}
    fields = REPRESENT | {"batch": {"samples": 8}, "steps": 1, "optimizer": {"lr": 1e-30}}
    run(tiny_run(tmp_path, stage(tmp_path, **fields, validation=validation), model=MODEL))
    step, held_out = read_lines(tmp_path / "run" / "metrics.jsonl")
    names = {"itc_image_to_text", "itc_text_to_image", "itm_accuracy", "itg_token_accuracy"}
    assert names | {"itc_loss", "itm_loss", "itg_loss"} <= step.keys()
    assert held_out["val_image_to_text_recall_at_10"] == 1.0
    # The same matches in another order: what is drawn at random aside, the numbers are the same.
    for name in ("itc_loss", "itg_loss", "itc_image_to_text", "itg_token_accuracy"):
        assert held_out[f"val_{name}"] == pytest.approx(step[name], rel=1e-4, abs=1e-5)


def refused(folder: Path, model: dict[str, Any], **fields: Any) -> str:
    write_data(folder, 4)
    with pytest.raises(ConfigError) as raised:
        load_config(RunConfig, tiny_run(folder, stage(folder, **fields), model=model))
    return str(raised.value)


@pytest.mark.parametrize("bound", ["micro_samples", "micro_tokens"])
def test_contrast_with_accumulation_is_refused_by_its_path(tmp_path: Path, bound: str):
    said = refused(tmp_path, MODEL, **REPRESENT, batch={"samples": 8, bound: 4})
    assert f"stages[0].batch.{bound}: 'mix' compares all samples of a step" in said


def test_objective_that_reads_needs_a_text_branch(tmp_path: Path):
    former = {k: v for k, v in QFORMER.items() if k not in ("text", "tokenizer")}
    said = refused(tmp_path, MODEL | {"connector": former}, objective={"type": "itc"})
    assert "stages[0].objective: 'itc' reads texts, and the connector has no text branch" in said


def test_objective_that_reads_beside_pictures_needs_a_part_for_it(tmp_path: Path):
    model = MODEL | {"connector": "linear"}
    said = refused(tmp_path, model, objective={"type": "itm"})
    assert "stages[0].objective: 'itm' reads texts beside pictures, and the connector is" in said


def test_weight_of_an_objective_that_is_alone_is_refused(tmp_path: Path):
    said = refused(tmp_path, MODEL, objective={"type": "itg", "weight": 2.0})
    assert "stages[0].objective.weight: 'itg' is alone" in said


@pytest.mark.parametrize(
    ("of", "why"),
    [
        (["itm", "itc"], "'itm' takes up what 'itc' finds; write it behind"),
        (["itc", "itc"], "'itc' is there already"),
        (["itc"], "at least 2"),
    ],
)
def test_mixes_that_make_no_sense_are_refused(tmp_path: Path, of: list[str], why: str):
    said = refused(tmp_path, MODEL, objective={"type": "mix", "of": [{"type": n} for n in of]})
    assert why in said


def test_connector_that_only_joins_is_refused_without_an_llm():
    with pytest.raises(ConfigError, match="'linear' has nothing to lead to; `qformer` can learn"):
        check(load_config(ModelConfig, {"encoder": CLIP, "connector": "linear"}))


def test_qformer_without_an_llm_has_no_visual_tokens():
    config = load_config(ModelConfig, {"encoder": CLIP, "connector": QFORMER})
    model = build_model(config, texts=lambda: iter(["a b c"]))
    with pytest.raises(PartError, match="no llm that visual tokens could be for"):
        model.see(model.encoder.blank())


@pytest.mark.slow
def test_first_stage_learns_what_belongs_together(tmp_path: Path):
    """Eight colours, two pictures and one text of each; hard negatives keep matching at two thirds
    until contrast has done its work."""
    write_data(tmp_path, 16)
    fields = {
        "train": {"encoder": "full", "connector": "full"},
        "batch": {"samples": 16},
        "steps": 260,
        "schedule": {"warmup": 20},
    }
    model = MODEL | {"encoder": CLIP | {"layer": -1}}
    run(tiny_run(tmp_path, stage(tmp_path, **REPRESENT, **fields), model=model))
    last = list(read_lines(tmp_path / "run" / "metrics.jsonl"))[-1]
    assert last["itc_image_to_text"] == 1.0
    assert last["itm_accuracy"] > 0.8
    assert last["itg_token_accuracy"] > 0.9
