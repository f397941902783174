"""`isthmus synthesize capfilt` from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli import app
from isthmus.core.config import dump
from tests.synthesize.capfilt_toys import config, save_captioner, save_filter
from tests.synthesize.toys import samples


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YAML, its data, and both models."""
    folder = tmp_path_factory.mktemp("capfilt")
    save_captioner(folder / "captioner")
    save_filter(folder / "filter")
    path = folder / "capfilt.yaml"
    path.write_text(dump(config(folder, folder)))
    return path


def test_it_writes_a_dataset_and_says_what_became_of_both_kinds(file: Path):
    result = run("synthesize", "capfilt", file)
    assert result.exit_code == 0, result.output
    out = file.parent / "out"
    assert "pictures 11/11" in result.output
    assert "came with the pictures  11" in result.output
    assert "mismatch" in result.output
    assert str(out / "samples.jsonl") in result.output
    again = run("synthesize", "capfilt", file)
    assert again.exit_code == 0
    assert "pictures 11/11" not in again.output


def test_an_empty_dataset_is_said_to_be_so(file: Path):
    result = run("synthesize", "capfilt", file, "--set", "filter.threshold=1.0")
    assert result.exit_code == 0, result.output
    assert "nothing was kept. Another `filter.threshold` than 1" in result.output


def test_shards_are_done_alone_and_taken_in(file: Path, tmp_path: Path):
    for part in ("2/2", "1/2"):
        result = run("synthesize", "capfilt", file, "--out", tmp_path / "o", "--shard", part)
        assert "the same command without --shard" in result.output
    result = run("synthesize", "capfilt", file, "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    assert samples(tmp_path / "o")
    assert run("synthesize", "export", tmp_path / "o", "--out", tmp_path / "x.json").exit_code == 0


def test_help_lists_it(file: Path):
    assert "capfilt" in run("synthesize", "--help").output
    assert "--shard" in run("synthesize", "capfilt", "--help").output


def test_config_check_knows_its_yaml(file: Path):
    result = run("config", "check", file)
    assert result.exit_code == 0, result.output
    assert "no problems" in result.output
    assert "kept from 0.5 on" in result.output
    gone = run("config", "check", file, "--set", f"filter.model={file.parent / 'gone'}")
    assert "`isthmus synthesize capfilt` needs it" in gone.output
    wrong = run("config", "check", file, "--set", "filter.treshold=0.4")
    assert "Did you mean 'threshold'" in wrong.output
    assert "threshold" in run("config", "schema", "capfilt").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shard", "3"], "write 1/4"),
        (["--device", "tpu"], "unknown; write cpu"),
        (["--set", "data.0.file=nowhere.jsonl"], "no such file"),
        (["--set", "captioner.model=nowhere"], "no such folder"),
    ],
)
def test_errors_say_what_to_write_instead(
    file: Path, tmp_path: Path, arguments: list[str], said: str
):
    result = run("synthesize", "capfilt", file, "--out", tmp_path / "o", *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output
