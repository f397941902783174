"""Runs whose model is sharded over two processes, against runs of one process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from isthmus.core.checkpoint import CHECKPOINTS
from isthmus.core.checkpoint.manifest import NAME
from isthmus.core.train.lines import read_lines
from isthmus.core.train.run import run
from tests.core.train.test_ranks import close, torchrun
from tests.core.train.tiny import source, stage, tiny_run, write_data

LAST = "03-polish-000003"
MIDDLE = "02-instruct-000002"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stages, in the first two of which the same processes share the model anew."""
    folder = tmp_path_factory.mktemp("sharing")
    write_data(folder, 9, text_only=3)
    who = {
        "align": {"connector": "full"},
        "instruct": {"connector": "full", "llm": "lora"},
        "polish": {"encoder": "full", "llm": "full"},
    }
    held_out = {"validation": {"data": [source(folder)], "every": 2}}
    sizes = {"batch": {"samples": 5, "micro_samples": 2}, "epochs": 1, "steps": None}
    stages = [
        stage(folder, name=name, train=train, save_every=1, **sizes, **held_out)
        for name, train in who.items()
    ]
    (folder / "run.yaml").write_text(yaml.safe_dump(tiny_run(folder, *stages, keep=9)))
    return folder / "run.yaml"


@pytest.fixture(scope="module")
def alone(config: Path) -> Path:
    """The run of one process."""
    run(config)
    return config.parent / "run"


@pytest.fixture(scope="module")
def sharded(config: Path) -> Path:
    """The run of two, each of which holds half of every weight."""
    train(config, config.parent / "sharded", "fsdp")
    return config.parent / "sharded"


def train(config: Path, out: Path, mode: str) -> None:
    """`isthmus train` on two processes."""
    verb = ("-m", "isthmus", "train", str(config), "--out", str(out), "--resume")
    ran = torchrun(*verb, "--set", f"parallel={mode}")
    assert ran.returncode == 0, ran.stderr
    assert "Warning" not in ran.stderr


def stopped_in_the_middle(done: Path, name: str) -> Path:
    """A copy of a finished run as a kill in its second stage would have left it."""
    out = shutil.copytree(done, done.with_name(name))
    for folder in (out / CHECKPOINTS).iterdir():
        if folder.name > MIDDLE:
            shutil.rmtree(folder)
    return out


def same(found: Path, wanted: Path) -> None:
    """Equal steps, and equal files of almost equal weights, in every checkpoint."""
    mine, theirs = (read_lines(out / "metrics.jsonl") for out in (found, wanted))
    for here, there in zip(mine, theirs, strict=True):
        for key in ("stage", "step", "supervised", "images"):
            assert here.get(key) == there.get(key)
        for key in ("loss", "grad_norm", "val_loss", "grounding"):
            assert here.get(key) == pytest.approx(there.get(key), abs=1e-4)
    for one in sorted((wanted / CHECKPOINTS).iterdir()):
        other = found / CHECKPOINTS / one.name
        if not other.exists():
            continue
        files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
        assert files == sorted(path.relative_to(other) for path in other.rglob("*.safetensors"))
        for file in files:
            assert close(load_file(other / file), load_file(one / file)) <= 1e-4, file
        listed, wanted_list = (json.loads((f / NAME).read_text()) for f in (other, one))
        assert listed["parts"] == wanted_list["parts"]
        assert listed["tied"] == wanted_list["tied"]


@pytest.mark.slow
def test_sharded_run_writes_the_files_of_one_process(alone: Path, sharded: Path):
    assert (sharded / CHECKPOINTS / LAST).is_dir()
    same(sharded, alone)


@pytest.mark.slow
def test_one_process_goes_on_where_two_that_shared_the_model_stopped(
    config: Path, alone: Path, sharded: Path
):
    out = stopped_in_the_middle(sharded, "on_with_one")
    run(config, overrides=[f"out={out}"], resume=True)
    same(out, alone)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_go_on_where_one_stopped(config: Path, alone: Path, mode: str):
    out = stopped_in_the_middle(alone, f"on_with_two_{mode}")
    train(config, out, mode)
    same(out, alone)
