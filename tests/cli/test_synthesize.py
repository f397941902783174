"""`isthmus synthesize`: one command from scenes to samples, and what is asked about them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli import app
from tests.synthesize.toys import lines, many, samples

EXAMPLE = Path(__file__).parents[2] / "examples" / "synthesize-offline.yaml"


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["synthesize", *map(str, arguments)])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    result = run(EXAMPLE, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    return tmp_path / "out"


def test_the_example_makes_samples_and_says_where_they_are(made: Path):
    result = run(EXAMPLE, "--out", made)
    assert str(made / "samples.jsonl") in result.output
    assert str(made / "report.html") in result.output
    assert len(samples(made)) == 25
    assert run("run", EXAMPLE, "--out", made).exit_code == 0


def test_any_example_is_pointed_at_another_file(tmp_path: Path):
    other = lines(tmp_path / "other.jsonl", many(4))
    result = run(EXAMPLE, "--out", tmp_path / "out", "--set", f"scenes.path={other}")
    assert result.exit_code == 0, result.output
    assert {row["image"] for row in samples(tmp_path / "out")} <= {f"{n}.jpg" for n in range(4)}


def test_status_report_verify_and_export_answer(made: Path, tmp_path: Path):
    assert "25 of 25" in run("status", made).output
    assert run("report", made).exit_code == 0
    assert "25 samples" in run("verify", made).output
    result = run("export", made, "--format", "messages", "--out", tmp_path / "x.jsonl")
    assert "25 samples" in result.output
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 25


def test_shards_are_asked_for_and_merged(made: Path, tmp_path: Path):
    for part in ("1/2", "2/2"):
        result = run(EXAMPLE, "--out", tmp_path / "parts", "--shard", part)
        assert "synthesize merge" in result.output
    assert run("merge", tmp_path / "parts").exit_code == 0
    assert (tmp_path / "parts/samples.jsonl").read_bytes() == (made / "samples.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify", "nowhere"], "no synthesis is in it"),
        (["nowhere.yaml"], "cannot be read"),
        ([EXAMPLE, "--shard", "3"], "write 1/4"),
        ([EXAMPLE, "--set", "scenes.path=nowhere.jsonl"], "no such file"),
        ([EXAMPLE, "--set", "teacher=symbolik"], "Did you mean 'symbolic'"),
        ([EXAMPLE, "--set", "scene.path=x"], "Did you mean 'scenes'"),
    ],
)
def test_errors_say_what_to_write_instead(tmp_path: Path, arguments: list[Any], said: str):
    if EXAMPLE in arguments:
        arguments = [*arguments, "--out", tmp_path / "out"]
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output


def test_config_check_checks_a_synthesis_too(tmp_path: Path):
    result = CliRunner().invoke(app, ["config", "check", str(EXAMPLE)])
    assert result.exit_code == 0, result.output
    assert "no problems" in result.output
    assert "not here yet" not in result.output
    wrong = ["config", "check", str(EXAMPLE), "--set", "quality.grunding=flag"]
    assert "Did you mean 'grounding'" in CliRunner().invoke(app, wrong).output


def test_it_loads_no_torch(tmp_path: Path):
    code = (
        "import sys; from typer.testing import CliRunner; from isthmus.cli import app\n"
        f"words = ['synthesize', {str(EXAMPLE)!r}, '--out', {str(tmp_path)!r}]\n"
        "r = CliRunner().invoke(app, words)\n"
        "print(r.exit_code, *({'torch', 'transformers', 'openai'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "0"
