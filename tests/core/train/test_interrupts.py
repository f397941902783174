"""Signals to a run, in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from isthmus.core import checkpoint
from isthmus.core.contracts import Events, StepEnded
from isthmus.core.train.run import run
from isthmus.errors import Interrupted
from tests.core.train.listeners import metrics
from tests.core.train.tiny import source, stage, tiny_run, write_data

ISTHMUS = (sys.executable, "-m", "isthmus")
TORCHRUN = (
    *(sys.executable, "-m", "torch.distributed.run"),
    *("--standalone", "--nproc-per-node", "2", "-m", "isthmus"),
)


def write_yaml(folder: Path, **fields: Any) -> Path:
    """A run that would take hours."""
    write_data(folder, 8)
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(tiny_run(folder, stage(folder, steps=100_000), **fields)))
    return file


def wait_for_steps(out: Path, process: subprocess.Popen[str], steps: int = 3) -> None:
    """Until the run has taken a few steps."""
    metrics = out / "metrics.jsonl"
    deadline = time.monotonic() + 180
    while not metrics.exists() or len(metrics.read_text().splitlines()) < steps:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class SignalAt(Events):
    """Sends this process a signal when a step has ended."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def step_ended(self, event: StepEnded) -> None:
        if event.step == self.step:
            os.kill(os.getpid(), self.number)


def test_step_after_a_signal_is_the_last(tmp_path: Path):
    write_data(tmp_path, 4)
    config = tiny_run(tmp_path, stage(tmp_path, steps=9))
    with pytest.raises(Interrupted, match=r"after step 4 of 9 of 'align'.*--resume") as caught:
        run(config, events=SignalAt(3, signal.SIGINT))
    assert caught.value.exit_code == 130
    state = checkpoint.load(tmp_path / "run").trainer
    assert state is not None
    assert (state.step, state.finished) == (4, False)
    run(config, resume=True)


@pytest.mark.parametrize(("at", "stops"), [(2, 2), (3, 4)])
def test_validation_that_a_signal_cut_short_is_made_up_for(tmp_path: Path, at: int, stops: int):
    write_data(tmp_path, 4)
    validation = {"data": [source(tmp_path)], "every": 2}
    config = tiny_run(tmp_path, stage(tmp_path, steps=4, validation=validation))
    whole = run(config)
    stopped = config | {"out": str(tmp_path / "stopped")}
    with pytest.raises(Interrupted, match=f"after step {stops} of 4"):
        run(stopped, events=SignalAt(at, signal.SIGTERM))
    final = run(stopped, resume=True)
    assert final.name == whole.name
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "run")


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_143(tmp_path: Path):
    config = write_yaml(tmp_path, workers=1)
    process = start(*ISTHMUS, "train", str(config))
    wait_for_steps(tmp_path / "run", process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "Traceback" not in errors
    found = checkpoint.load(tmp_path / "run")
    assert found.trainer is not None
    step = found.trainer.step
    assert f"stopped by a signal after step {step} of 100000 of 'align'" in errors
    assert str(found.folder) in errors
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == step


@pytest.mark.slow
def test_signal_to_one_of_two_processes_stops_both_at_one_step(tmp_path: Path):
    config = write_yaml(tmp_path)
    process = start(*TORCHRUN, "train", str(config))
    wait_for_steps(tmp_path / "run", process)
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    children[1].terminate()
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    state = checkpoint.load(tmp_path / "run").trainer
    assert state is not None
    assert errors.count(f"stopped by a signal after step {state.step} of") >= 1
