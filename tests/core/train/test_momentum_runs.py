"""Copies that follow what is learnt: a run that was stopped has them as the whole run has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus.core.checkpoint import load
from isthmus.core.train.run import run
from tests.core.train.listeners import Crash, crash_at, metrics
from tests.core.train.match_gradients import ALBEF, MOMENTUM
from tests.core.train.test_exact_matrix import left_behind
from tests.core.train.tiny import source, stage, tiny_run, write_data


@pytest.fixture
def albef(tmp_path: Path) -> dict[str, Any]:
    write_data(tmp_path, 12)
    objective = {"type": "mix", "of": MOMENTUM, "momentum": {"queue": 8, "warmup": 3}}
    train = {"encoder": "full", "text_encoder": "full"}
    one = stage(tmp_path, name="pretrain", objective=objective, train=train, save_every=2, steps=5)
    return tiny_run(tmp_path, one, model=ALBEF)


def test_stopped_run_ends_like_the_whole_one(albef: dict[str, Any], tmp_path: Path):
    last = run(albef | {"out": str(tmp_path / "whole")})
    out = tmp_path / "stopped"
    with pytest.raises(Crash):
        run(albef | {"out": str(out)}, events=crash_at("pretrain", 3))
    run(albef | {"out": str(out)}, resume=True)
    assert metrics(out) == metrics(tmp_path / "whole")
    assert left_behind(out) == left_behind(tmp_path / "whole")
    kept = load(last).objective()
    assert float(kept["momentum.steps"]) == 5.0
    assert int(kept["momentum.queue.added"]) == 20
    learnt = load(last).model().text_encoder.state_dict()
    copies = {n.removeprefix("momentum.parts.text_encoder."): t for n, t in kept.items()}
    moved = [not torch.equal(copies[name], tensor) for name, tensor in learnt.items()]
    assert any(moved)


def test_validation_leaves_copies_and_queue_alone(albef: dict[str, Any], tmp_path: Path):
    alone = load(run(albef | {"out": str(tmp_path / "alone")})).objective()
    (one,) = albef["stages"]
    one = one | {"validation": {"data": [source(tmp_path)], "every": 1}}
    last = run(albef | {"stages": [one], "out": str(tmp_path / "measured")})
    assert any("val_itc_loss" in row for row in metrics(tmp_path / "measured"))
    measured = load(last).objective()
    assert int(measured["momentum.queue.added"]) == 20
    assert measured.keys() == alone.keys()
    assert all(torch.equal(tensor, alone[name]) for name, tensor in measured.items())
