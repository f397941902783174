"""Models are asked what the benchmark says, with the right pictures, grey ones and others'; and an
evaluation that was stopped ends as one that was not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isthmus.core.assistant import load as load_assistant
from isthmus.core.chat import Journal
from isthmus.core.config import load
from isthmus.core.contracts import JudgedBenchmark, Question, Reply
from isthmus.errors import ConfigError, DataError, InputError
from isthmus.evaluate.choice import chosen, others
from isthmus.evaluate.config import EvaluationConfig
from isthmus.evaluate.evaluation import Evaluation
from isthmus.evaluate.judging import Jury
from tests.evaluate.bench import jury_of, says
from tests.evaluate.toys import write_lines
from tests.loopback import loopback
from tests.tiny_run import MODEL, save_tiny_run

COLOURS = ("red", "blue", "white", "black")
LENGTH = 6
LOOKS = MODEL | {"connector": {"type": "linear"}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one` and `two`, whose weights differ, and `blind`, which sees grey alone."""
    folder = tmp_path_factory.mktemp("models")
    # Of tiny models that nothing was taught, these look at pictures most.
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
    for at, colour in enumerate(COLOURS):
        Image.new("RGB", (9 + at, 9), colour).save(tmp_path / f"{colour}.png")
    return write_lines(tmp_path / "questions.jsonl", rows)


def config(home: Path, data: Path, *names: str, **settings: Any) -> EvaluationConfig:
    values = {
        "models": {name: str(home / name) for name in names or ("one",)},
        "benchmarks": {"colours": {"type": "exact_match", "data": str(data)}},
        "out": str(data.parent / "out"),
        "batch_size": 4,
        "generation": {"max_new_tokens": LENGTH},
    }
    return load(EvaluationConfig, values | settings)


def carry_out(settings: EvaluationConfig) -> Evaluation:
    evaluation = Evaluation(settings)
    assert sum(count for count, _ in evaluation.answer("cpu")) <= evaluation.total
    return evaluation


def texts(settings: EvaluationConfig, file: str, model: str = "one") -> dict[Any, str]:
    lines = (settings.out / model / "colours" / file).read_text().splitlines()
    return {row["question_id"]: row["text"] for row in map(json.loads, lines)}


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


def judged_by_length(
    benchmark: JudgedBenchmark, questions: Sequence[Question], answers: Sequence[Reply], file: Path
) -> None:
    """A judge who likes long answers, and fails on the first question."""
    rows = []
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        row = {"question_id": question.id, "answer_id": answer.fields["answer_id"]}
        grade = min(1.0, len(answer.text) / 20)
        rows.append(row if number == 0 else {**row, "content": f"{grade:.2f}"})
    write_lines(file, rows)


def test_answers_that_need_a_judge_wait_for_one(models: Path, data: Path) -> None:
    rows = {
        f"v1_{number}": {
            "question": "What is in the picture?",
            "answer": colour,
            "imagename": f"{colour}.png",
            "capability": ["rec"],
        }
        for number, colour in enumerate(COLOURS)
    }
    (data.parent / "mm-vet.json").write_text(json.dumps(rows))
    (data.parent / "images").mkdir()
    for colour in COLOURS:
        (data.parent / f"{colour}.png").rename(data.parent / "images" / f"{colour}.png")
    benchmark = {"type": "mm_vet", "data": str(data.parent / "mm-vet.json")}
    settings = config(models, data, benchmarks={"colours": benchmark}, controls=["blank"])
    evaluation = carry_out(settings)
    (section,) = evaluation.results()
    place = settings.out / "one" / "colours"
    assert section.entries[0].scores is None
    assert sorted(file.name for file in place.iterdir()) == ["answers-blank.jsonl", "answers.jsonl"]

    evaluation.judge(judged_by_length)
    (section,) = evaluation.results()
    scores = json.loads((place / "scores.json").read_text())
    lengths = [min(1.0, len(text) / 20) for text in texts(settings, "answers.jsonl").values()]
    grades = [float(f"{length:.2f}") for length in lengths[1:]]
    assert scores["score"] == pytest.approx(100 * sum(grades) / 3)
    assert scores["missing"] == ["v1_0"]
    assert scores["controls"]["blank"]["n_valid"] == 3

    reviews = (place / "reviews.jsonl").read_text()
    (place / "reviews.jsonl").write_text(reviews.replace('"answer_id": "', '"answer_id": "x'))
    with pytest.raises(DataError, match="review of another answer to question v1_0"):
        evaluation.results()


def test_a_jury_is_a_judge_of_what_was_answered(models: Path, data: Path) -> None:
    rows = {
        f"v1_{number}": {
            "question": "What?",
            "answer": colour,
            "imagename": f"{colour}.png",
            "capability": ["rec"],
        }
        for number, colour in enumerate(COLOURS)
    }
    (data.parent / "mm-vet.json").write_text(json.dumps(rows))
    (data.parent / "images").symlink_to(data.parent)
    benchmark = {"type": "mm_vet", "data": str(data.parent / "mm-vet.json")}
    evaluation = carry_out(config(models, data, benchmarks={"colours": benchmark}))
    with (
        loopback(lambda asked: says(asked, "0.5")) as server,
        Journal(data.parent / "journal.sqlite") as journal,
    ):
        evaluation.judge(Jury(jury_of(server.url), journal))
        (section,) = evaluation.results()
    (entry,) = section.entries
    assert entry.scores is not None
    assert entry.scores.by == {"rec": 50, "total": 50}
    assert {
        name: looked.scores.score for name, looked in entry.controls.items() if looked.scores
    } == {
        "blank": 50,
        "shuffled": 50,
    }
