"""Metrics reach the trackers that a run names."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.core.train.run import run
from isthmus.errors import InputError
from tests.core.train.listeners import Crash, crash_at, metrics
from tests.core.train.tiny import stage, tiny_run, write_data


def test_missing_tracker_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_data(tmp_path, 4)
    monkeypatch.setattr("isthmus.core.train.progress.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'isthmus\[wandb\]'"):
        run(tiny_run(tmp_path, trackers=["wandb"]))
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_every_step(tmp_path: Path):
    pytest.importorskip("tensorboard")
    write_data(tmp_path, 4)
    two = stage(tmp_path, steps=2), stage(tmp_path, name="second", steps=1)
    config = tiny_run(tmp_path, *two, trackers=["tensorboard"])
    with pytest.raises(Crash):
        run(config, events=crash_at("second", 1))
    run(config, resume=True)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = {path.parent for path in (tmp_path / "run" / "trackers" / "run").glob("events.*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    *losses, last = (line["loss"] for line in metrics(tmp_path / "run"))
    assert [scalar.value for scalar in events.Scalars("align/loss")] == pytest.approx(losses)
    again = events.Scalars("second/loss")
    assert {scalar.step for scalar in again} == {3}  # before the crash, and after it
    assert again[-1].value == pytest.approx(last)
