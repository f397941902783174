"""Models are asked what the benchmark says, with the right pictures, grey ones and others'; and an
evaluation that was stopped ends as one that was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isthmus.core.assistant import load as load_assistant
from isthmus.core.contracts import Question
from isthmus.errors import ConfigError, DataError, InputError
from isthmus.evaluate.choice import chosen, others
from isthmus.evaluate.evaluation import Evaluation
from tests.evaluate.colours import COLOURS, LENGTH, LOOKS, carry_out, config, paint, texts
from tests.evaluate.toys import write_lines
from tests.tiny_run import save_tiny_run


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one` and `two`, whose weights differ, and `blind`, which sees grey alone."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_run(folder / "one", LOOKS)
    save_tiny_run(folder / "two", LOOKS, seed=2)
    save_tiny_run(folder / "blind", LOOKS, blind=True)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Nine questions: two about each of four pictures, and one about none."""
    rows: list[dict[str, Any]] = [
        {"question_id": 2 * at + more, "image": f"{colour}.png", "text": text, "answer": colour}
        for at, colour in enumerate(COLOURS)
        for more, text in enumerate(("What is in the picture?", f"Is it {colour}?"))
    ]
    rows.append({"question_id": "words", "text": "What is a cat?", "answer": "an animal"})
    paint(tmp_path)
    return write_lines(tmp_path / "questions.jsonl", rows)


def replies(models: Path, data: Path, pictures: Any, **settings: Any) -> dict[Any, str]:
    """The oracle: each question by itself, in messages, with the picture that `pictures` gives
    for the name of its own."""
    assistant = load_assistant(models / "one", device="cpu")
    found = {}
    for row in map(json.loads, data.read_text().splitlines()):
        pieces: list[dict[str, Any]] = [{"type": "text", "text": row["text"]}]
        if "image" in row:
            pieces.insert(0, {"type": "image", "image": pictures(row)})
        talk = [{"role": "user", "content": pieces}]
        found[row["question_id"]] = assistant.reply(talk, max_new_tokens=LENGTH, **settings)
    return found


def test_every_question_gets_the_answer_that_the_assistant_gives(models: Path, data: Path) -> None:
    settings = config(models, data, controls=[])
    carry_out(settings)
    shown = replies(models, data, lambda row: data.parent / row["image"])
    assert texts(settings, "answers.jsonl") == shown
    assert len(set(shown.values())) > 2


def test_controls_see_grey_and_the_pictures_of_another_cluster(models: Path, data: Path) -> None:
    settings = config(models, data)
    carry_out(settings)

    def grey(row: dict[str, Any]) -> Image.Image:
        return Image.new("RGB", (9 + COLOURS.index(row["image"].split(".")[0]), 9), "grey")

    assert texts(settings, "answers-blank.jsonl") == replies(models, data, grey)
    questions = settings.benchmarks["colours"].build().questions()
    given = {
        question.id: questions[giver].images
        for question, giver in zip(questions, others(questions), strict=True)
    }
    for question in questions:
        assert len(given[question.id]) == len(question.images)
        assert not set(given[question.id]) & set(question.images)

    def other(row: dict[str, Any]) -> Path:
        return data.parent / given[row["question_id"]][0]

    assert texts(settings, "answers-shuffled.jsonl") == replies(models, data, other)
    right = texts(settings, "answers.jsonl")
    for control in ("blank", "shuffled"):
        assert texts(settings, f"answers-{control}.jsonl") != right
        # Without a picture it is the same question, and is not asked again.
        assert texts(settings, f"answers-{control}.jsonl")["words"] == right["words"]


def test_wherever_it_is_left_it_ends_with_the_same_bytes(models: Path, data: Path) -> None:
    whole = config(models, data, "one", "two", out=str(data.parent / "whole"))
    steps = sum(1 for _ in Evaluation(whole).answer("cpu"))
    files = {f.relative_to(whole.out): f.read_bytes() for f in whole.out.rglob("answers*.jsonl")}
    assert len(files) == 6
    for left in range(1, steps, 3):
        stopped = config(models, data, "one", "two", out=str(data.parent / f"stopped{left}"))
        asking = Evaluation(stopped).answer("cpu")
        for _ in range(left):
            next(asking)
        asking.close()
        # A kill leaves half a row, too, and rows of a batch that was not written to its end.
        for partial in stopped.out.rglob("*.partial"):
            partial.write_bytes(partial.read_bytes()[:-20])
        again = Evaluation(stopped)
        assert again.open < again.total
        for _ in again.answer("cpu"):
            pass
        assert not list(stopped.out.rglob("*.partial"))
        for name, content in files.items():
            assert (stopped.out / name).read_bytes() == content


def test_what_is_answered_is_not_asked_again(
    models: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(models, data)
    carry_out(settings)

    def nobody(*_: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("isthmus.evaluate.evaluation.assistant_of", nobody)
    evaluation = Evaluation(settings)
    assert evaluation.open == 0
    assert list(evaluation.answer()) == []


def test_a_larger_number_of_questions_goes_on_from_a_smaller_one(models: Path, data: Path) -> None:
    few = config(models, data, max_questions=4)
    carry_out(few)
    asked = texts(few, "answers.jsonl")
    shuffled = texts(few, "answers-shuffled.jsonl")
    assert len(asked) == 4
    many = Evaluation(config(models, data, max_questions=7))
    assert many.open == 9
    for _ in many.answer("cpu"):
        pass
    assert texts(few, "answers.jsonl").items() >= asked.items()
    assert texts(few, "answers-shuffled.jsonl").items() >= shuffled.items()
    (section,) = many.results()
    assert section.entries[0].scores is not None
    assert section.entries[0].scores.n_total == 7


def test_a_model_made_anew_under_its_old_name_is_another_model(data: Path, tmp_path: Path) -> None:
    save_tiny_run(tmp_path / "one")
    settings = config(tmp_path, data)
    carry_out(settings)
    checkpoint = tmp_path / "one" / "checkpoints"
    checkpoint.rename(tmp_path / "old")
    save_tiny_run(tmp_path / "one", seed=3)
    with pytest.raises(DataError, match=r"metadata is .*checkpoint.* remove the file"):
        Evaluation(settings)


def test_a_blind_model_needs_no_control(models: Path, data: Path) -> None:
    settings = config(models, data, "blind", "one")
    evaluation = carry_out(settings)
    (section,) = evaluation.results()
    assert [list(entry.controls) for entry in section.entries] == [[], ["blank", "shuffled"]]
    grey = texts(settings, "answers-blank.jsonl")
    assert texts(settings, "answers.jsonl", "blind") == grey


def test_runs_are_drawn_differently_and_their_spread_is_told(models: Path, data: Path) -> None:
    drawn = {"max_new_tokens": LENGTH, "temperature": 1.5, "seed": 7}
    settings = config(models, data, runs=3, controls=[], generation=drawn)
    evaluation = carry_out(settings)
    files = ("answers.jsonl", "answers-run2.jsonl", "answers-run3.jsonl")
    given = [texts(settings, file) for file in files]
    assert given[0] != given[1] != given[2] != given[0]
    evaluation.results()
    scores = json.loads((settings.out / "one" / "colours" / "scores.json").read_text())
    assert len(scores["runs"]) == 3
    assert scores["settings"]["seed"] == 7
    with pytest.raises(ConfigError, match="at temperature 0 every run says the same"):
        config(models, data, runs=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {"a/b": "x"}}, r"models\.a/b: a folder gets it: a name has letters"),
        ({"models": {"report.html": "x"}}, "does not end like a file"),
        ({"benchmarks": {"..": {"type": "generic", "data": "x"}}}, "a name has letters"),
        ({"controls": ["blank", "blank"]}, "each control once"),
        ({"controls": ["black"]}, "controls"),
        ({"models": {}}, "models"),
        ({"benchmarks": {"x": {"type": "exakt_match"}}}, "Did you mean 'exact_match'"),
    ],
)
def test_a_wrong_setting_is_named(
    models: Path, data: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config(models, data, **change)


def test_what_cannot_be_asked_is_said_before_anything_is_written(models: Path, data: Path) -> None:
    (data.parent / "red.png").unlink()
    with pytest.raises(DataError, match=r"2 questions cannot be asked(.|\n)*red\.png: there is no"):
        Evaluation(config(models, data))
    missing = {"type": "exact_match", "data": "nowhere"}
    with pytest.raises(DataError, match=r"benchmarks\.b: .*nowhere(.|\n)*benchmarks\.c"):
        Evaluation(config(models, data, benchmarks={"b": missing, "c": missing}))
    with pytest.raises(InputError, match=r"models\.x: .*no such folder"):
        Evaluation(config(models, data, models={"x": "nowhere"}))
    assert not (data.parent / "out").exists()


def test_chosen_questions_are_the_same_in_any_order_and_for_any_number() -> None:
    questions = [Question(number) for number in range(100)]
    few = {questions[at].id for at in chosen(questions, 10)}
    many = {questions[at].id for at in chosen(questions, 30)}
    assert len(few) == 10
    assert few < many
    backwards = questions[::-1]
    assert {backwards[at].id for at in chosen(backwards, 10)} == few
    assert chosen(questions, None) == chosen(questions, 100) == list(range(100))
    # Not every third or tenth: kinds of questions mostly come in turns.
    assert len({at % 3 for at in chosen(questions, 10)}) == 3
