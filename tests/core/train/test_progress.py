"""The files and trackers that follow a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isthmus.core.contracts import CheckpointSaved, Evaluated, StageEnded, StepEnded
from isthmus.core.train.curves import draw_curves, smooth
from isthmus.core.train.progress import CURVES, METRICS, MetricsFile, Trackers, check_trackers
from isthmus.errors import InputError, WorkError


def step(number: int, stage: str = "align", **fields: Any) -> StepEnded:
    values: dict[str, Any] = {
        "stage": stage,
        "step": number,
        "steps": 20,
        "loss": 4.0 / number,
        "lr": 1e-3,
        "grad_norm": 0.5,
        "tokens": 300,
        "supervised": 60.0,
        "samples": 12,
        "images": 11,
        "seconds": 2.0,
        "data_wait": 0.25,
    }
    return StepEnded(**(values | fields))


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / METRICS).read_text().splitlines()]


def test_one_json_line_a_step_with_rates(tmp_path: Path):
    listener = MetricsFile(tmp_path, {})
    listener.step_ended(step(1, metrics={"accuracy": 0.5}))
    listener.evaluated(Evaluated("align", 1, {"val_loss": 3.5, "grounding": 0.1}))
    first, second = lines(tmp_path)
    assert first == {
        "stage": "align",
        "step": 1,
        "loss": 4.0,
        "lr": 1e-3,
        "grad_norm": 0.5,
        "tokens_per_s": 150.0,
        "samples_per_s": 6.0,
        "data_wait": 0.25,
        "images": 11,
        "seconds": 2.0,
        "supervised": 60.0,
        "accuracy": 0.5,
    }
    assert second == {"stage": "align", "step": 1, "val_loss": 3.5, "grounding": 0.1}


def test_work_of_a_step_is_written_where_it_is_known(tmp_path: Path):
    listener = MetricsFile(tmp_path, {})
    listener.step_ended(step(1, flops=5e12))
    listener.step_ended(step(2, flops=5e12, mfu=0.25, hfu=0.3))
    first, second = lines(tmp_path)
    assert (first["flops"], first.get("mfu")) == (5e12, None)
    assert (second["flops"], second["mfu"], second["hfu"]) == (5e12, 0.25, 0.3)


def test_resumed_run_forgets_what_came_after_its_checkpoint(tmp_path: Path):
    listener = MetricsFile(tmp_path, {})
    for number in (1, 2, 3):
        listener.step_ended(step(number))
    listener.step_ended(step(1, stage="instruct"))
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"stage": "instruct", "st')  # killed while writing
    listener = MetricsFile(tmp_path, {"align": 2})
    listener.step_ended(step(3))
    assert [(line["stage"], line["step"]) for line in lines(tmp_path)] == [
        ("align", 1),
        ("align", 2),
        ("align", 3),
    ]


def test_disk_that_takes_no_line_is_named(tmp_path: Path):
    listener = MetricsFile(tmp_path, {})
    (tmp_path / METRICS).mkdir()  # stands for a full disk: opening it to write fails
    with pytest.raises(WorkError, match=r"metrics\.jsonl: cannot be written: .*--resume"):
        listener.step_ended(step(1))


def test_fresh_run_starts_an_empty_file(tmp_path: Path):
    (tmp_path / METRICS).write_text(json.dumps({"stage": "align", "step": 1, "loss": 1.0}) + "\n")
    MetricsFile(tmp_path, {})
    assert lines(tmp_path) == []


def test_curves_are_drawn_at_checkpoints_and_stage_ends(tmp_path: Path):
    listener = MetricsFile(tmp_path, {})
    for number in range(1, 16):
        listener.step_ended(step(number))
    assert not (tmp_path / CURVES).exists()
    listener.checkpoint_saved(CheckpointSaved("align", 15, tmp_path))
    with Image.open(tmp_path / CURVES) as picture:
        kind, one = picture.format, picture.width
    listener.step_ended(step(1, stage="instruct"))
    listener.stage_ended(StageEnded("instruct", 1, 2.0))
    with Image.open(tmp_path / CURVES) as picture:
        two = picture.width
    assert kind == "PNG"
    assert two == pytest.approx(2 * one, abs=4)  # a panel for each stage
    assert [path.name for path in tmp_path.glob("*.tmp")] == []


def test_no_metrics_no_picture(tmp_path: Path):
    draw_curves(tmp_path / METRICS, tmp_path / CURVES)
    assert not (tmp_path / CURVES).exists()


def test_running_mean_of_a_constant_is_that_constant():
    assert smooth([2.0] * 50) == pytest.approx([2.0] * 50)
    assert smooth([5.0, 1.0]) == [5.0, 1.0]  # too short to have a memory


def test_running_mean_by_hand():
    # A memory of 2 steps: weights 1/2, 1/4 and so on, made to sum to one.
    assert smooth([4.0, 0.0, 8.0], share=2 / 3) == pytest.approx(
        [4.0, 0.0 * 2 / 3 + 4.0 / 3, (8 * 4 + 0 * 2 + 4 * 1) / 7]
    )


def test_trackers_count_steps_across_stages():
    class Fake:
        def __init__(self) -> None:
            self.seen: list[tuple[str, float, int]] = []
            self.closed = False

        def log(self, values: dict[str, float], step: int) -> None:
            self.seen.append((*next(iter(values.items())), step))

        def finish(self) -> None:
            self.closed = True

    fake = Fake()
    trackers = Trackers([fake])
    trackers.step_ended(step(1))
    trackers.step_ended(step(2))
    trackers.stage_ended(StageEnded("align", 2, 1.0))
    trackers.evaluated(Evaluated("instruct", 1, {"val_loss": 1.0}))
    trackers.close()
    assert fake.seen == [
        ("align/loss", 4.0, 1),
        ("align/loss", 2.0, 2),
        ("instruct/val_loss", 1.0, 3),
    ]
    assert fake.closed


def test_missing_tracker_names_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("isthmus.core.train.progress.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'isthmus\[wandb\]'"):
        check_trackers(["wandb"])
