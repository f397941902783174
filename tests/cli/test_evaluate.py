"""`isthmus evaluate`: one YAML in, scores and a report out, and what happens when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

from isthmus.cli import app
from tests.evaluate.bench import says
from tests.evaluate.toys import write_lines
from tests.loopback import loopback
from tests.tiny_run import save_tiny_run


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_tiny_run(folder / "one")
    save_tiny_run(folder / "two", seed=1)
    return folder


@pytest.fixture
def config(models: Path, tmp_path: Path) -> Path:
    """Two models, eight questions about as many pictures, paths as people write them."""
    (tmp_path / "data" / "photos").mkdir(parents=True)
    for number in range(8):
        Image.new("RGB", (9, 9), (30 * number,) * 3).save(
            tmp_path / "data" / "photos" / f"{number}.png"
        )
    rows = [
        {
            "question_id": n,
            "image": f"{n}.png",
            "text": "What?",
            "answer": "x",
            "category": "ab"[n % 2],
        }
        for n in range(8)
    ]
    write_lines(tmp_path / "data" / "questions.jsonl", rows)
    benchmark = {"type": "exact_match", "data": "data/questions.jsonl", "images": "data/photos"}
    values = {
        "models": {name: os.path.relpath(models / name, tmp_path) for name in ("one", "two")},
        "benchmarks": {"what": benchmark},
        "out": str(tmp_path / "out"),
        "generation": {"max_new_tokens": 4},
        "batch_size": 2,
    }
    file = tmp_path / "evaluation.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def run(config: Path, *more: str) -> Result:
    arguments = ["evaluate", str(config), "--device", "cpu", *more]
    return CliRunner().invoke(app, arguments)


def test_scores_controls_and_report_are_there(config: Path) -> None:
    result = run(config)
    assert result.exit_code == 0, result.stderr
    assert "questions 48/48" in result.stdout
    header, first, second = (
        line.split()
        for line in result.stdout.splitlines()
        if line.startswith(("benchmark ", "what "))
    )
    assert header[:3] == ["benchmark", "model", "score"]
    assert (first[:3], second[:3]) == (["what", "one", "0.00"], ["what", "two", "0.00"])
    assert first[-1] == "100.00"  # the most frequent answer is always right
    assert "what: two less one is +0.00, p = 1" in result.stdout
    out = config.parent / "out"
    assert {file.name for file in out.iterdir()} == {
        *("evaluation.yaml", "comparisons.json", "report.html"),
        *("one", "two", ".lock"),
    }
    answers = ("answers.jsonl", "answers-blank.jsonl", "answers-shuffled.jsonl")
    for model in ("one", "two"):
        place = out / model / "what"
        assert {file.name for file in place.iterdir()} == {*answers, "scores.json"}
        scores = json.loads((place / "scores.json").read_text())
        assert (scores["model"], scores["n_total"]) == (model, 8)
        assert scores["answered_by"] == f"{model}/01-align-000001"
        assert set(scores["controls"]) == {"blank", "shuffled"}
    again = run(out / "evaluation.yaml")
    assert again.exit_code == 0, again.stderr
    assert "48 of 48 questions are answered already" in again.stdout


def test_settings_can_be_changed_from_the_command_line(config: Path, tmp_path: Path) -> None:
    changed = ("--set", "controls=[]", "--set", "max_questions=3", "--out", str(tmp_path / "few"))
    result = run(config, *changed, "--set", "benchmarks.what.literal=true")
    assert result.exit_code == 0, result.stderr
    assert "questions 6/6" in result.stdout
    resolved = yaml.safe_load((tmp_path / "few" / "evaluation.yaml").read_text())
    assert resolved["benchmarks"]["what"]["literal"] is True
    wrong = run(config, "--set", "benchmarks.what.literaly=true")
    assert wrong.exit_code == 2
    assert "Did you mean 'literal'?" in wrong.stderr


def test_a_folder_that_another_evaluation_is_writing_to_is_refused(config: Path) -> None:
    import fcntl

    (config.parent / "out").mkdir()
    with (config.parent / "out" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = run(config)
    assert result.exit_code == 2
    assert "is in use by another run" in result.stderr


def vet(models: Path, tmp_path: Path) -> Path:
    """An evaluation whose benchmark has to be judged."""
    rows = {
        f"v1_{n}": {"question": "?", "answer": "x", "imagename": "a.png", "capability": ["rec"]}
        for n in range(3)
    }
    (tmp_path / "mm-vet.json").write_text(json.dumps(rows))
    (tmp_path / "images").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "a.png")
    values: dict[str, Any] = {
        "models": {"one": str(models / "one")},
        "benchmarks": {"vet": {"type": "mm_vet", "data": "mm-vet.json"}},
        "out": str(tmp_path / "out"),
        "generation": {"max_new_tokens": 4},
    }
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "e.yaml"


def test_a_lost_judgement_is_left_out_and_the_exit_code_says_so(
    models: Path, tmp_path: Path
) -> None:
    vet(models, tmp_path)
    result = run(tmp_path / "e.yaml")
    assert result.exit_code == 0, result.stderr
    assert "vet: a judge is needed to score the answers of one" in result.stdout
    place = tmp_path / "out" / "one" / "vet"
    answers = [json.loads(line) for line in (place / "answers.jsonl").read_text().splitlines()]
    reviews = [{"question_id": a["question_id"], "answer_id": a["answer_id"]} for a in answers]
    write_lines(
        place / "reviews.jsonl", [reviews[0], *({**r, "content": "1"} for r in reviews[1:])]
    )
    result = run(tmp_path / "e.yaml")
    assert result.exit_code == 1
    assert "error: one, vet: 1 of 3 values are missing" in result.stderr
    assert json.loads((place / "scores.json").read_text())["score"] == 100


def test_a_judge_reads_what_was_answered(models: Path, tmp_path: Path) -> None:
    file = vet(models, tmp_path)
    journal = ("--journal", str(tmp_path / "journal.sqlite"))
    with loopback(lambda asked: says(asked, "0.5")) as server:
        judge = json.dumps({"type": "openai", "model": "judge", "base_url": server.url})
        result = run(file, "--judge", judge, *journal)
        assert result.exit_code == 0, result.stderr
    scores = json.loads((tmp_path / "out" / "one" / "vet" / "scores.json").read_text())
    assert (scores["score"], scores["controls"]["blank"]["score"]) == (50, 50)
    assert [each["requested"] for each in scores["judges"]] == ["judge"]
    # The server is gone, and the journal knows it all.
    again = run(file, "--judge", judge, *journal, "--offline")
    assert again.exit_code == 0, again.stderr
    assert "50.00" in again.stdout


def test_a_judge_that_cannot_be_asked_is_said_before_a_model_is(
    models: Path, config: Path, tmp_path: Path
) -> None:
    judge = json.dumps({"type": "openai", "model": "judge"})
    for arguments, words in (
        (("--judge", judge), "--judge: none of these benchmarks needs one"),
        (("--judge", str(tmp_path / "nowhere.yaml")), "nowhere.yaml"),
        (("--max-cost", "3"), "--max-cost is for --judge"),
    ):
        result = run(config, *arguments)
        assert result.exit_code == 2
        assert words in result.stderr
    assert not (config.parent / "out").exists()


@pytest.mark.slow
def test_ctrl_c_loses_no_answer(config: Path) -> None:
    whole = config.parent / "whole"
    long = ("--set", "generation.max_new_tokens=80", "--set", "controls=[]")
    assert run(config, "--out", str(whole), *long).exit_code == 0
    command = (sys.executable, "-m", "isthmus", "evaluate", str(config), "--device", "cpu")
    process = subprocess.Popen([*command, *long], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    partial = config.parent / "out" / "one" / "what" / "answers.jsonl.partial"
    deadline = time.monotonic() + 300  # a busy machine takes a minute to import torch
    while not (partial.exists() and partial.stat().st_size):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert b"interrupted" in said
    result = run(config, *long)
    assert result.exit_code == 0, result.stderr
    assert "questions are answered already" in result.stdout
    for file in whole.rglob("answers*.jsonl"):
        same = config.parent / "out" / file.relative_to(whole)
        assert same.read_bytes() == file.read_bytes()
