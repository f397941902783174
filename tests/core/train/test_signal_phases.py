"""SIGTERM wherever it comes: the run saves, leaves with its code, and goes on to the same end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus.core import checkpoint
from isthmus.core.checkpoint.snapshot import Snapshot
from isthmus.core.data.loader import StepLoader
from isthmus.core.train import progress
from isthmus.core.train.engine import Engine, Root
from isthmus.core.train.lines import LineFile
from isthmus.core.train.run import run
from isthmus.core.train.validation import Validation
from isthmus.errors import Interrupted
from tests.core.train.listeners import metrics
from tests.core.train.tiny import source, stage, tiny_run, write_data

PHASES: dict[str, tuple[Any, str, int]] = {
    "data": (StepLoader, "load", 3),
    "forward": (Root, "forward", 4),
    "backward": (torch.Tensor, "backward", 4),
    "clip": (Engine, "_clip", 2),
    "optimizer": (torch.optim.AdamW, "step", 2),
    "metrics": (LineFile, "add", 2),
    "validation": (Validation, "_step", 1),
    "save": (Snapshot, "write", 1),
}
"""Phase -> the call in which the signal comes, the n-th of it."""


def settings(folder: Path) -> dict[str, Any]:
    held_out = {"data": [source(folder)], "every": 2, "max_samples": 4}
    batch = {"samples": 4, "micro_samples": 2}
    only = stage(folder, batch=batch, steps=5, save_every=2, validation=held_out)
    return tiny_run(folder, only)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "draw_curves", lambda metrics, picture: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phases")
    write_data(folder, 8)
    run(settings(folder))
    return folder


def signalled(call: Callable[..., Any], at: int) -> Callable[..., Any]:
    """`call`, in whose `at`-th use this process gets SIGTERM."""
    uses = 0

    def use(*args: Any, **kwargs: Any) -> Any:
        nonlocal uses
        uses += 1
        if uses == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return call(*args, **kwargs)

    return use


@pytest.mark.parametrize("phase", PHASES)
def test_signal_in_any_phase_saves_and_leaves(
    phase: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, at = PHASES[phase]
    config = settings(data) | {"out": str(tmp_path)}
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, signalled(getattr(owner, name), at))
        with pytest.raises(Interrupted, match=r"stopped by a signal after step \d of 5") as caught:
            run(config)
    assert caught.value.exit_code == 143
    saved = checkpoint.load(tmp_path)
    assert saved.trainer is not None
    assert f"after step {saved.trainer.step} of" in str(caught.value)
    assert str(saved.folder) in str(caught.value)
    final = run(config, resume=True)
    whole = data / "run"
    assert metrics(tmp_path) == metrics(whole)
    for file in (whole / "checkpoints" / final.name / "model").iterdir():
        assert (final / "model" / file.name).read_bytes() == file.read_bytes()


TWICE = """
import os, signal, sys, threading, time, yaml
from pathlib import Path
from isthmus.core.checkpoint import folder
from isthmus.core.train import signals
from isthmus.core.train.run import run
signals.ECHO = 0.05
put, saves = folder._put_in_place, []
def slow(temporary, target):
    saves.append(target)
    if len(saves) == 2:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)
        time.sleep(60)
    put(temporary, target)
folder._put_in_place = slow
run(yaml.safe_load(Path(sys.argv[1]).read_text()))
"""


@pytest.mark.slow
def test_second_signal_during_a_save_leaves_at_once_and_the_checkpoint_before(
    data: Path, tmp_path: Path
) -> None:
    import yaml

    config = settings(data) | {"out": str(tmp_path / "run")}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-c", TWICE, str(tmp_path / "run.yaml")]
    ran = subprocess.run(command, timeout=55, cwd=Path(__file__).parents[3])
    assert ran.returncode == -signal.SIGTERM
    assert checkpoint.find(tmp_path / "run").folder.name == "01-align-000002"
    run(config, resume=True)
    assert metrics(tmp_path / "run") == metrics(data / "run")
