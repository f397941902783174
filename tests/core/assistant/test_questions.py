"""Question files are checked whole before anything is loaded; answer files go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isthmus.core.assistant.answers import AnswerFile, answer_id
from isthmus.core.assistant.questions import Question, read_questions
from isthmus.core.contracts import ImageSlot
from isthmus.errors import DataError

MODEL = ("run/01-align-000001", {"temperature": 0.0})


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows) + "\n")
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        Image.new("RGB", (4, 4)).save(folder / name)
    (folder / "broken.jpg").write_text("no picture")
    return folder


def test_images_stand_before_the_text_or_where_it_says_so(tmp_path: Path, photos: Path) -> None:
    rows = [
        {"question_id": 1, "image": "a.png", "text": "What?"},
        "",
        {"question_id": "1", "image": ["a.png", "deep/b.png"], "text": "<image> or <image>?"},
        {"question_id": 3, "text": "What does <image> mean?", "category": "words"},
        {"question_id": 4, "image": None, "text": "Why?"},
    ]
    read = read_questions(write(tmp_path / "q.jsonl", rows), photos)
    talks = [question.conversation() for question in read]
    first, second = ImageSlot(0), ImageSlot(1)
    assert [talk.turns[0].content for talk in talks] == [
        (first, "\n", "What?"),
        ("", first, " or ", second, "?"),
        ("What does <image> mean?",),
        ("Why?",),
    ]
    files = (photos / "a.png", photos / "deep" / "b.png")
    assert [talk.pictures for talk in talks] == [files[:1], files, (), ()]
    assert [question.id for question in read] == [1, "1", 3, 4]


def test_every_wrong_row_is_listed_by_line(tmp_path: Path, photos: Path) -> None:
    rows = [
        {"question_id": 1, "text": "good"},
        "{half a row",
        "[1, 2]",
        {"text": "no id"},
        {"question_id": True, "text": "x"},
        {"question_id": 2, "text": "  "},
        {"question_id": 3, "image": "nowhere.png", "text": "x"},
        {"question_id": 4, "image": "../secret.png", "text": "x"},
        {"question_id": 5, "image": "/etc/passwd", "text": "x"},
        {"question_id": 6, "image": 7, "text": "x"},
        {"question_id": 7, "image": ["a.png", "a.png"], "text": "<image>"},
        {"question_id": 1, "text": "again"},
        {"question_id": 8, "image": "broken.jpg", "text": "x"},
    ]
    with pytest.raises(DataError) as error:
        read_questions(write(tmp_path / "q.jsonl", rows), photos)
    lines = str(error.value).split("\n")
    expected = [
        "q.jsonl: wrong rows:",
        "line 2: not JSON",
        "line 3: a row is a mapping {question_id, image, text}; found '[1, 2]'",
        "line 4: question_id: a number or a string is needed; found None",
        "line 5: question_id: a number or a string is needed; found True",
        "line 6: text: the question's words are needed",
        "line 7: .*nowhere.png: there is no such file",
        "line 8: image: image path '../secret.png' leaves",
        "line 9: image: image path '/etc/passwd' is absolute",
        "line 10: image: an image is the path of a file",
        "line 11: text: 1 times <image> for 2 images",
        "and 2 more",
    ]
    assert len(lines) == len(expected)
    for line, words in zip(lines, expected, strict=True):
        assert words.split(".*")[-1] in line


def test_links_that_leave_the_images_folder_are_refused(tmp_path: Path, photos: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (photos / "link.png").symlink_to(tmp_path / "secret.png")
    rows = [{"question_id": 1, "image": "link.png", "text": "x"}]
    with pytest.raises(DataError, match=r"line 1: .*link that leaves"):
        read_questions(write(tmp_path / "q.jsonl", rows), photos)


def test_no_file_no_text_and_no_question_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_questions(tmp_path / "q.jsonl", tmp_path)
    with pytest.raises(DataError, match="no question in it"):
        read_questions(write(tmp_path / "q.jsonl", ["", " "]), tmp_path)
    (tmp_path / "q.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_questions(tmp_path / "q.jsonl", tmp_path)


QUESTIONS = [Question(1, "One?"), Question(2, "Two?"), Question("x", "Three?")]


def answer(path: Path, questions: list[Question], stop_after: int | None = None) -> list[str | int]:
    """Answers what is open, and returns its ids; an interrupt comes after `stop_after`."""
    answers = AnswerFile(path, questions, *MODEL)
    done = []
    with answers:
        for question in answers.open:
            if len(done) == stop_after:
                raise KeyboardInterrupt
            answers.add(question, f"caf\u00e9 {question.id}")
            done.append(question.id)
    return done


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_answer_rows_are_as_llava_writes_them(tmp_path: Path) -> None:
    out = tmp_path / "new" / "answers.jsonl"
    answer(out, QUESTIONS)
    row = rows_of(out)[2]
    assert list(row) == ["question_id", "prompt", "text", "answer_id", "model_id", "metadata"]
    assert (row["question_id"], row["prompt"], row["text"]) == ("x", "Three?", "caf\u00e9 x")
    assert (row["model_id"], row["metadata"]) == MODEL
    assert [path.name for path in out.parent.iterdir()] == ["answers.jsonl"]


def test_answer_ids_differ_by_model_question_and_settings_alone() -> None:
    ids = {
        answer_id(model, question, {"temperature": heat})
        for model in ("a", "b")
        for question in (*QUESTIONS, Question("1", "One?"), Question(1, "One?", names=("a.png",)))
        for heat in (0.0, 0.5)
    }
    assert len(ids) == 20
    assert all(len(each) == 22 for each in ids)
    assert answer_id("a", Question(1, "One?"), {}) == answer_id("a", Question(1, "One?"), {})


def test_an_interrupted_file_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    with pytest.raises(KeyboardInterrupt):
        answer(out, QUESTIONS, stop_after=2)
    assert not out.exists()
    partial = tmp_path / "answers.jsonl.partial"
    whole = partial.read_bytes()
    # The second row is cut off within a character, as a kill may do.
    partial.write_bytes(whole[: whole.rindex(b"\xa9")])
    assert answer(out, QUESTIONS) == [2, "x"]
    assert [row["question_id"] for row in rows_of(out)] == [1, 2, "x"]
    assert not partial.exists()
    assert AnswerFile(out, QUESTIONS, *MODEL).open == []


def test_new_questions_are_added_to_a_finished_file(tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    answer(out, QUESTIONS[:2])
    with pytest.raises(KeyboardInterrupt):
        answer(out, QUESTIONS, stop_after=0)
    assert len(rows_of(out)) == 2
    assert answer(out, QUESTIONS) == ["x"]
    assert len(rows_of(out)) == 3


@pytest.mark.parametrize(
    ("model", "questions", "words"),
    [
        (("other", MODEL[1]), QUESTIONS, "line 1: model_id is 'run/01-align-000001', and would"),
        ((MODEL[0], {"temperature": 1.0}), QUESTIONS, "line 1: metadata is"),
        (MODEL, [Question(1, "Uno?"), *QUESTIONS[1:]], "line 1: prompt is 'One"),
        (MODEL, [Question(1, "One?", names=("a",)), *QUESTIONS[1:]], "line 1: answer_id is"),
        (MODEL, QUESTIONS[1:], "line 1: question_id 1 is not among the questions"),
    ],
)
def test_answers_to_something_else_are_not_gone_on_with(
    model: Any, questions: list[Question], words: str, tmp_path: Path
) -> None:
    out = tmp_path / "answers.jsonl"
    answer(out, QUESTIONS)
    before = out.read_bytes()
    with pytest.raises(DataError, match=words):
        AnswerFile(out, questions, *model)
    assert out.read_bytes() == before


@pytest.mark.parametrize("text", ["my notes", "my notes\n"])
def test_a_file_that_holds_something_else_is_left_alone(text: str, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    out.write_text(text)
    with pytest.raises(DataError, match=r"answers\.jsonl, line 1: not JSON.*write to another one"):
        AnswerFile(out, QUESTIONS, *MODEL)
    assert out.read_text() == text
