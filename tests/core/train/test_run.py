"""Whole runs of tiny parts: what they learn, write and say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from isthmus.core import checkpoint
from isthmus.core.train.run import run
from isthmus.errors import ImageError
from tests.core.train.listeners import Recorder, metrics, weights
from tests.core.train.tiny import source, stage, tiny_run, write_data

ALL = {"encoder": "full", "connector": "full", "llm": "full"}


def test_two_stages_leave_what_they_promise(tmp_path: Path):
    write_data(tmp_path, 8, text_only=2)
    heard = Recorder()
    validation = {"data": [source(tmp_path)], "every": 2}
    align = stage(tmp_path, validation=validation, save_every=3)
    instruct = stage(tmp_path, name="instruct", train=ALL, epochs=1, steps=None)
    final = run(tiny_run(tmp_path, align, instruct), events=heard)

    out = tmp_path / "run"
    assert final == out / "checkpoints" / "02-instruct-000003"  # 10 samples in steps of 4
    assert {path.name for path in out.iterdir()} == {
        ".lock",
        "config.yaml",
        "metrics.jsonl",
        "curves.png",
        "checkpoints",
    }
    assert [(row.part, row.tuner, row.trainable > 0) for row in heard.stages[0].table] == [
        ("encoder", "frozen", False),
        ("connector", "full", True),
        ("llm", "frozen", False),
    ]
    assert [event.step for event in heard.steps] == [1, 2, 3, 4, 1, 2, 3]
    assert [event.samples for event in heard.steps] == [4, 4, 4, 4, 4, 4, 2]
    assert [event.step for event in heard.evaluated_] == [2, 4]
    for event in heard.evaluated_:
        found = event.metrics
        assert found["grounding"] == found["val_loss_shuffled"] - found["val_loss"] != 0
    assert [event.folder.name for event in heard.saved] == [
        "01-align-000003",
        "01-align-000004",
        "02-instruct-000003",
    ]
    assert sum("val_loss" in line for line in metrics(out)) == 2
    state = checkpoint.load(out).trainer
    assert state is not None
    assert (state.stage, state.step, state.finished) == ("instruct", 3, True)


def test_stage_one_changes_the_connector_alone(tmp_path: Path):
    write_data(tmp_path)
    first = run(tiny_run(tmp_path, stage(tmp_path, steps=1, optimizer={"lr": 1e-30})))
    longer = tiny_run(tmp_path, stage(tmp_path, steps=2), out=str(tmp_path / "other"))
    second = run(longer)
    changed = [name for name, content in weights(first).items() if weights(second)[name] != content]
    assert changed == ["connector.safetensors"]


def test_loss_falls(tmp_path: Path):
    write_data(tmp_path, 8)
    heard = Recorder()
    optimizer = {"lr": 1e-2}
    config = tiny_run(tmp_path, stage(tmp_path, train=ALL, steps=60, optimizer=optimizer))
    run(config, events=heard)
    losses = [event.loss for event in heard.steps]
    assert losses[0] > 5
    assert max(losses[-5:]) < 1.5


def test_reset_draws_a_part_anew_for_its_stage(tmp_path: Path):
    write_data(tmp_path, 4)
    tiny = {"optimizer": {"lr": 1e-30}, "steps": 1}
    stages = stage(tmp_path, **tiny), stage(tmp_path, name="again", reset=["connector"], **tiny)
    final = run(tiny_run(tmp_path, *stages))
    first = final.parent / "01-align-000001"
    assert weights(first)["llm.safetensors"] == weights(final)["llm.safetensors"]
    assert weights(first)["connector.safetensors"] != weights(final)["connector.safetensors"]


def test_lora_is_merged_or_kept_between_stages(tmp_path: Path):
    write_data(tmp_path, 4)
    for hand_over, added in (("merge", False), ("keep", True)):
        lora = {"type": "lora", "r": 2, "hand_over": hand_over}
        out = tmp_path / hand_over
        stages = (
            stage(tmp_path, train={"llm": lora}, steps=2),
            stage(tmp_path, name="second", steps=1),
        )
        final = run(tiny_run(tmp_path, *stages, out=str(out)))
        assert bool(checkpoint.load(out).tuners) == added
        names = load_file(final / "model" / "llm.safetensors")
        assert any("lora_" in name for name in names) == added
        checkpoint.load(out).model()


def test_bf16_keeps_what_learns_in_fp32_and_what_is_frozen_in_bf16(tmp_path: Path):
    write_data(tmp_path, 8)
    stages = stage(tmp_path, train={"connector": "full"}), stage(tmp_path, name="b", train=ALL)
    final = run(tiny_run(tmp_path, *stages, precision="bf16"))
    first = final.parent / "01-align-000004" / "model"

    def dtypes(folder: Path, part: str) -> set[torch.dtype]:
        return {t.dtype for t in load_file(folder / f"{part}.safetensors").values()}

    assert dtypes(first, "llm") == dtypes(first, "encoder") == {torch.bfloat16}
    assert dtypes(first, "connector") == {torch.float32}
    assert dtypes(final / "model", "llm") == {torch.float32}


def test_batches_counted_in_tokens_run(tmp_path: Path):
    write_data(tmp_path, 8, text_only=4)
    heard = Recorder()
    batch = {"tokens": 500, "micro_tokens": 200}
    validation = {"data": [source(tmp_path)]}
    counted = stage(tmp_path, batch=batch, steps=None, epochs=1, validation=validation)
    run(tiny_run(tmp_path, counted), events=heard)
    assert sum(event.samples for event in heard.steps) == 12
    assert max(event.tokens for event in heard.steps) <= 500


def test_workers_change_nothing(tmp_path: Path):
    write_data(tmp_path, 8)
    config = tiny_run(tmp_path, stage(tmp_path, steps=3))
    alone = run(config)
    helped = run(config | {"workers": 1, "out": str(tmp_path / "helped")})
    assert weights(alone) == weights(helped)


def test_blind_run_sees_no_picture(tmp_path: Path):
    write_data(tmp_path, 8)
    heard = Recorder()
    validation = {"data": [source(tmp_path)]}
    config = tiny_run(tmp_path, stage(tmp_path, steps=1, validation=validation), blind=True)
    run(config, events=heard)
    assert heard.evaluated_[0].metrics.keys() == {"val_loss"}


def test_skipped_samples_are_listed_and_counted(tmp_path: Path):
    write_data(tmp_path, 8)
    (tmp_path / "pictures" / "3.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"3\.png"):
        run(tiny_run(tmp_path, stage(tmp_path, steps=None, epochs=1)))
    heard = Recorder()
    skip = {"on_bad_image": "skip", "max_skipped": 0.2, "steps": None, "epochs": 1}
    config = tiny_run(tmp_path, stage(tmp_path, **skip), out=str(tmp_path / "skip"))
    run(config, events=heard)
    assert sum(event.samples for event in heard.steps) == 7
    (line,) = map(json.loads, (tmp_path / "skip" / "skipped.jsonl").read_text().splitlines())
    assert (line["stage"], line["id"]) == ("align", "p3")
    assert "3.png" in line["reason"]
    assert heard.ended[0].skipped == 1
