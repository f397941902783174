"""`isthmus train`: what it prints, and its exit codes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner, Result

from isthmus.cli import app
from isthmus.cli.display import Bar, Display, Lines, Speed, clock
from isthmus.cli.train import _met_by_all
from isthmus.core.contracts import (
    CheckpointSaved,
    Evaluated,
    PartRow,
    StageEnded,
    StageStarted,
    StepEnded,
)
from isthmus.errors import ConfigError, DataError, InputError, Interrupted, WorkError
from tests.core.train.tiny import stage, tiny_run, write_data

STARTED = StageStarted(
    stage="align",
    index=0,
    stages=2,
    steps=40,
    first_step=0,
    table=[
        PartRow("encoder", "clip openai/clip-vit-large-patch14", "frozen", 304_000_000, 0, None),
        PartRow("connector", "mlp", "full", 21_000_000, 21_000_000, 1e-3),
    ],
    notes=["samples are padded"],
)


def step(number: int, **fields: Any) -> StepEnded:
    values: dict[str, Any] = {
        "stage": "align",
        "step": number,
        "steps": 40,
        "loss": 2.5,
        "lr": 1e-3,
        "grad_norm": 1.0,
        "tokens": 1000,
        "supervised": 100.0,
        "samples": 10,
        "images": 10,
        "seconds": 0.5,
        "data_wait": 0.1,
    }
    return StepEnded(**(values | fields))


def shown(display_class: type[Display], terminal: bool) -> str:
    """What a stage of forty steps looks like."""
    stream = io.StringIO()
    display = display_class(Console(file=stream, force_terminal=terminal, width=160))
    display.stage_started(STARTED)
    for number in range(1, 41):
        display.step_ended(step(number))
    display.evaluated(Evaluated("align", 40, {"val_loss": 2.25, "grounding": 0.125}))
    display.checkpoint_saved(CheckpointSaved("align", 40, Path("run/checkpoints/01-align-000040")))
    display.stage_ended(StageEnded("align", 40, 3725.0, skipped=3, notes=("9 images added",)))
    display.close()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())


def test_log_has_twenty_lines_a_stage_with_rates_and_eta():
    lines = shown(Lines, terminal=False).splitlines()
    steps = [line for line in lines if line.startswith("align ") and "/40" in line]
    assert len(steps) == 20
    # 1000 tokens and 10 samples in half a second; 38 steps to go.
    assert steps[0] == (
        "align 2/40  loss 2.500  lr 1.0e-03  2,000 tokens/s  20.0 samples/s  data wait 10%  "
        "ETA 0:19"
    )


@pytest.mark.parametrize("display", [Lines, Bar])
def test_both_displays_show_table_validation_checkpoint_and_end(display: type[Display]):
    text = shown(display, terminal=display is Bar)
    assert "Stage 1 of 2: align, 40 steps" in text
    row = next(line for line in text.splitlines() if "openai/clip" in line)
    assert "frozen" in row
    assert "304,000,000" in row
    row = next(line for line in text.splitlines() if "mlp" in line)
    assert "1.0e-03" in row
    assert "note: samples are padded" in text
    assert "step 40: val_loss 2.2500  grounding 0.1250" in text
    assert "step 40: saved run/checkpoints/01-align-000040" in text
    assert "align: 40 steps in 1:02:05" in text
    assert "3 samples were left out" in text
    assert "note: 9 images added" in text


def test_bar_shows_speed_and_counts():
    text = shown(Bar, terminal=True)
    assert "40/40" in text
    assert "2,000 tokens/s" in text


def test_speed_says_mfu_where_the_peak_is_known():
    speed = Speed()
    speed.add(step(1, mfu=0.4, seconds=1.0))
    speed.add(step(2, mfu=0.5, seconds=3.0))
    assert speed.describe().endswith("data wait 10%  MFU 47.5%")


def test_clock_is_read_like_one():
    assert [clock(s) for s in (0, 42, 725, 11_220)] == ["0:00", "0:42", "12:05", "3:07:00"]


def test_what_every_process_meets_is_said_once():
    assert _met_by_all(ConfigError([]))
    assert _met_by_all(InputError("the folder holds a run"))
    assert _met_by_all(Interrupted("stopped", 15))
    assert not _met_by_all(DataError("record 7"))
    assert not _met_by_all(WorkError("a data worker was killed"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_data(tmp_path, 4)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny_run(tmp_path, stage(tmp_path, steps=2))))
    return tmp_path / "run.yaml"


def train(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_run_names_checkpoint_curves_and_the_next_verb(config: Path, tmp_path: Path):
    out = tmp_path / "elsewhere"
    result = train(config, "--out", out, "--set", "stages.0.optimizer.lr=0.002")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Reading data, then loading encoder clip, connector ")
    assert "2.0e-03" in result.output
    last = result.output.splitlines()[-3:]
    assert last == [
        f"checkpoint: {out}/checkpoints/01-align-000002",
        f"curves:     {out}/curves.png",
        f"talk to it: isthmus chat --model {out} --image FILE",
    ]
    assert not (tmp_path / "run").exists()

    again = train(config, "--out", out, "--resume", "--set", "stages.0.optimizer.lr=0.002")
    assert again.exit_code == 0
    said = again.output.splitlines()
    assert said[1] == f"Nothing is left to do: every stage of {out} is finished"
    assert said[2:] == last
    assert "Nothing is left" not in result.output


def test_benchmarks_of_a_stage_are_asked_and_said(tmp_path: Path):
    write_data(tmp_path, 4)
    row = {"question_id": 1, "image": "0.png", "text": "What colour is it?", "answer": "red"}
    (tmp_path / "questions.jsonl").write_text(json.dumps(row))
    exam = {"type": "generic", "data": "questions.jsonl", "images": "pictures"}
    asked = {"benchmarks": {"colours": exam}, "every": 1, "max_new_tokens": 4}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(tiny_run(tmp_path, stage(tmp_path, steps=2, evaluate=asked))))
    result = train(file)
    assert result.exit_code == 0, result.stderr
    for number in (1, 2):
        assert re.search(rf"step {number}: colours/accuracy \d+\.\d", result.stdout)


def test_help_imports_no_torch():
    script = (
        "import sys\n"
        "sys.argv = ['isthmus', 'train', '--help']\n"
        "from isthmus.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "--resume" in ran.stdout
