"""DPO on two processes and on one: the reference is the model without adapters on all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from isthmus.core.train.lines import read_lines
from isthmus.core.train.run import run
from tests.core.train.tiny import stage, tiny_run, write_data

REPOSITORY = Path(__file__).parents[3]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
FIELDS = {
    "train": {"llm": {"type": "lora", "r": 4, "lr": 0.02}},
    "objective": {"type": "dpo"},
    "batch": {"samples": 5, "micro_samples": 2},
    "steps": 6,
}


def learnt(folder: Path) -> list[list[float]]:
    rows = list(read_lines(folder / "metrics.jsonl"))
    return [[row[name] for name in ("loss", "accuracy", "margin", "grad_norm")] for row in rows]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_preferences_are_learnt_alike_on_two_processes_and_on_one(tmp_path: Path):
    file = write_data(tmp_path, 9)
    records = json.loads(file.read_text())
    for number, record in enumerate(records):
        record["rejected"] = "No idea" + " at all" * (number % 3)
    file.write_text(json.dumps(records))
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(tiny_run(tmp_path, stage(tmp_path, **FIELDS))))
    run(config)
    alone = learnt(tmp_path / "run")
    assert len(alone) == FIELDS["steps"]
    assert alone[-1][0] < 0.9 * alone[0][0]
    for mode in ("ddp", "fsdp"):
        verb = ("-m", "isthmus", "train", str(config), "--set", f"parallel={mode}")
        command = [*TORCHRUN, *verb, "--out", str(tmp_path / mode)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=REPOSITORY)
        assert ran.returncode == 0, ran.stderr
        for mine, theirs in zip(learnt(tmp_path / mode), alone, strict=True):
            assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-4)
