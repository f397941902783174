"""`isthmus generate`: questions in, answers out, and every way that it can be interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from isthmus.cli import app
from isthmus.core.assistant import Assistant, load
from tests.tiny_run import save_tiny_run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_run(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Five rows: no image, one, two; beside a folder of photos."""
    (tmp_path / "photos").mkdir()
    for name in ("red", "blue"):
        Image.new("RGB", (9, 9), name).save(tmp_path / "photos" / f"{name}.png")
    rows = [
        {"question_id": 7, "image": "red.png", "text": "What is in the picture?"},
        {"question_id": 8, "image": "blue.png", "text": "What?"},
        {"question_id": "x", "text": "Hello there"},
        {"question_id": 10, "image": ["red.png", "blue.png"], "text": "Tell them apart"},
        {"question_id": 11, "image": "red.png", "text": "Why?"},
    ]
    file = tmp_path / "q.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def run(model: Path, questions: Path, *more: str | Path) -> Result:
    folder = questions.parent
    arguments = ["--questions", questions, "--out", folder / "a.jsonl", "--device", "cpu"]
    settings = ["--images", folder / "photos", "--max-new-tokens", 8]
    everything = ["generate", "--model", model, *arguments, *settings, *more]
    return CliRunner().invoke(app, [str(each) for each in everything])


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_every_question_gets_the_answer_that_the_assistant_gives(
    model: Path, questions: Path
) -> None:
    result = run(model, questions, "--batch-size", "2")
    assert result.exit_code == 0, result.stderr
    assert "questions 5/5" in result.stdout
    answers = rows_of(questions.parent / "a.jsonl")
    assert [row["question_id"] for row in answers] == [7, 8, "x", 10, 11]
    assert {row["model_id"] for row in answers} == {"tiny/01-align-000001"}
    assert answers[0]["metadata"] == {"max_new_tokens": 8, "temperature": 0.0}
    assert answers[3]["prompt"] == "Tell them apart"
    photos = questions.parent / "photos"
    shown = [{"type": "image", "image": photos / f"{name}.png"} for name in ("red", "blue")]
    asked = [{"role": "user", "content": [*shown, {"type": "text", "text": "Tell them apart"}]}]
    assert answers[3]["text"] == load(model, device="cpu").reply(asked, max_new_tokens=8)
    assert names(questions.parent) == {"q.jsonl", "photos", "a.jsonl"}


def test_the_batch_size_changes_nothing(model: Path, questions: Path) -> None:
    out = questions.parent / "a.jsonl"
    written = []
    for size, heat in (("1", "0"), ("5", "0"), ("1", "1.5"), ("3", "1.5")):
        assert run(model, questions, "--batch-size", size, "--temperature", heat).exit_code == 0
        written.append(out.read_text())
        out.unlink()
    assert written[0] == written[1] != written[2] == written[3]


def test_an_interrupted_run_goes_on_and_asks_nothing_twice(
    model: Path, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(model, questions).exit_code == 0
    out = questions.parent / "a.jsonl"
    whole = out.read_text()
    out.unlink()
    asked: list[int] = []
    answer = Assistant.answer

    def interrupted(self: Assistant, conversations: Any, *rest: Any, **settings: Any) -> list[str]:
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.append(len(conversations))
        return answer(self, conversations, *rest, **settings)

    monkeypatch.setattr(Assistant, "answer", interrupted)
    assert run(model, questions, "--batch-size", "1").exit_code == 130
    assert names(questions.parent) == {"q.jsonl", "photos", "a.jsonl.partial"}
    assert len(rows_of(questions.parent / "a.jsonl.partial")) == 4
    asked.clear()
    result = run(model, questions, "--batch-size", "1")
    assert result.exit_code == 0
    assert "4 of 5 questions are answered already" in result.stdout
    assert asked == [1]
    assert out.read_text() == whole
    assert run(model, questions).exit_code == 0
    assert asked == [1]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{no json", "line 6: not JSON"),
        ('{"question_id": 7, "text": "twice"}', "line 6: question_id 7 is that of line 1"),
        ('{"question_id": 9, "text": "x", "image": "../q.jsonl"}', "leaves the `images` folder"),
        ('{"question_id": 9, "text": "x", "image": "green.png"}', "there is no such file"),
    ],
)
def test_bad_rows_exit_2_before_a_weight_is_loaded(
    row: str, words: str, questions: Path, tmp_path: Path
) -> None:
    questions.write_text(questions.read_text() + row + "\n")
    result = run(tmp_path / "nowhere", questions)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert names(tmp_path) == {"q.jsonl", "photos"}


def test_a_picture_cut_short_exits_2_and_keeps_the_answers_before_it(
    model: Path, questions: Path
) -> None:
    photo = questions.parent / "photos" / "blue.png"
    Image.effect_noise((64, 64), 90).save(photo)
    photo.write_bytes(photo.read_bytes()[:2000])
    result = run(model, questions, "--batch-size", "1")
    assert result.exit_code == 2
    assert "blue.png: the file is cut short" in result.stderr
    assert len(rows_of(questions.parent / "a.jsonl.partial")) == 1


def test_other_settings_do_not_go_on_with_an_answer_file(model: Path, questions: Path) -> None:
    assert run(model, questions).exit_code == 0
    result = run(model, questions, "--temperature", "0.7")
    assert result.exit_code == 2
    assert "metadata is" in result.stderr
    assert "write to another one" in result.stderr


def test_no_model_exits_2_and_writes_nothing(questions: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere", questions)
    assert result.exit_code == 2
    assert "no such folder" in result.stderr
    assert names(tmp_path) == {"q.jsonl", "photos"}


def test_an_out_that_cannot_be_written_is_one_message(model: Path, questions: Path) -> None:
    (questions.parent / "a.jsonl").mkdir()
    result = run(model, questions)
    assert result.exit_code == 2
    assert "a.jsonl: cannot be gone on with: Is a directory" in result.stderr


def test_a_damaged_newer_checkpoint_is_named(questions: Path, tmp_path: Path) -> None:
    run_folder = save_tiny_run(tmp_path / "tiny")
    first = run_folder / "checkpoints" / "01-align-000001"
    first.rename(first.with_name("01-align-000002"))
    save_tiny_run(run_folder)
    (first.with_name("01-align-000002") / "model.yaml").write_text("")
    result = run(run_folder, questions)
    assert result.exit_code == 0, result.stderr
    assert "skipped a checkpoint" in result.stdout
    assert rows_of(tmp_path / "a.jsonl")[0]["model_id"] == "tiny/01-align-000001"
