"""Runs whose model is sharded over two processes, against runs of one process."""

from __future__ import annotations

import json
import shutil
from itertools import zip_longest
from pathlib import Path
from typing import Any

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


def same_step(here: dict[str, Any], there: dict[str, Any]) -> bool:
    """Whether two lines of a course count the same and measure almost the same."""
    counted = ("stage", "step", "supervised", "images")
    measured = ("loss", "grad_norm", "val_loss", "grounding")
    return all(here.get(key) == there.get(key) for key in counted) and all(
        here.get(key) == pytest.approx(there.get(key), abs=1e-4) for key in measured
    )


def lists(checkpoint: Path) -> tuple[list[Path], Any, Any]:
    """The files of weights in a checkpoint, its parts, and which of their weights are tied."""
    files = sorted(path.relative_to(checkpoint) for path in checkpoint.rglob("*.safetensors"))
    manifest = json.loads((checkpoint / NAME).read_text())
    return files, manifest["parts"], manifest["tied"]


def unlike(found: Path, wanted: Path) -> list[str]:
    """What is not almost equal: steps, and files and weights of the checkpoints that were kept."""
    courses = (read_lines(out / "metrics.jsonl") for out in (found, wanted))
    steps = enumerate(zip_longest(*courses, fillvalue={}))
    wrong = [f"line {number}" for number, pair in steps if not same_step(*pair)]
    for mine in sorted((found / CHECKPOINTS).iterdir()):
        its = wanted / CHECKPOINTS / mine.name
        files, *_ = lists(its)
        if lists(mine) != lists(its):
            wrong.append(mine.name)
        else:
            pairs = ((load_file(mine / file), load_file(its / file)) for file in files)
            far = [file for file, pair in zip(files, pairs, strict=True) if close(*pair) > 1e-4]
            wrong += [f"{mine.name}/{file}" for file in far]
    return wrong


@pytest.mark.slow
def test_sharded_run_writes_the_files_of_one_process(alone: Path, sharded: Path):
    assert (sharded / CHECKPOINTS / LAST).is_dir()
    assert unlike(sharded, alone) == []


@pytest.mark.slow
def test_one_process_goes_on_where_two_that_shared_the_model_stopped(
    config: Path, alone: Path, sharded: Path
):
    out = stopped_in_the_middle(sharded, "on_with_one")
    run(config, overrides=[f"out={out}"], resume=True)
    assert (out / CHECKPOINTS / LAST).is_dir()
    assert unlike(out, alone) == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_go_on_where_one_stopped(config: Path, alone: Path, mode: str):
    out = stopped_in_the_middle(alone, f"on_with_two_{mode}")
    train(config, out, mode)
    assert (out / CHECKPOINTS / LAST).is_dir()
    assert unlike(out, alone) == []
