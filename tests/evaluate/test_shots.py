"""Examples stand before a question as turns that were had, are those of its id and seed, and never
show the question itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from isthmus.core.assistant import load as load_assistant
from isthmus.core.assistant.questions import Question
from isthmus.core.config import load, validate_part
from isthmus.core.contracts import ImageSlot, Sample, Turn
from isthmus.errors import ConfigError, DataError
from isthmus.evaluate.config import EvaluationConfig, ShotsConfig
from isthmus.evaluate.evaluation import Evaluation
from isthmus.evaluate.exam import Exam
from isthmus.evaluate.shots import Shots
from tests.evaluate.toys import write_lines
from tests.tiny_run import MODEL, save_tiny_run

COLOURS = ("red", "blue", "white", "black", "green", "yellow")
ASK = "What is in the picture?"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_tiny_run(folder / "one", MODEL | {"connector": {"type": "linear"}})
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Questions about two pictures, and records about six, two of which are those."""
    for at, colour in enumerate(COLOURS):
        Image.new("RGB", (9 + at, 9), colour).save(tmp_path / f"{colour}.png")
    (tmp_path / "again.png").write_bytes((tmp_path / "red.png").read_bytes())
    records: list[dict[str, Any]] = [
        {
            "id": colour,
            "image": "again.png" if colour == "red" else f"{colour}.png",
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": f"<image>\n{ASK}"},
                {"from": "gpt", "value": colour},
            ],
        }
        for colour in COLOURS
    ]
    write_lines(tmp_path / "train.jsonl", records)
    rows = [
        {"question_id": at, "image": f"{colour}.png", "text": ASK, "answer": colour}
        for at, colour in enumerate(("red", "blue"))
    ]
    return write_lines(tmp_path / "questions.jsonl", rows)


def shots(folder: Path, count: int, seed: int = 0, **fields: Any) -> Shots:
    values = {"type": "llava", "file": folder / "train.jsonl", "images": folder} | fields
    source: Any = validate_part("source", values)
    return Shots(ShotsConfig(count=count, seed=seed, data=source))


def asked(folder: Path) -> list[Question]:
    benchmark: Any = validate_part(
        "benchmark", {"type": "exact_match", "data": str(folder / "questions.jsonl")}
    )
    return Exam("colours", benchmark.build(), None).asked()


def test_examples_are_earlier_turns_with_their_pictures_in_order(data: Path) -> None:
    first, _ = asked(data.parent)
    (question,) = shots(data.parent, 2).before([first], [first])
    talk = question.conversation()
    assert [turn.role for turn in talk.turns] == ["user", "assistant"] * 2 + ["user"]
    assert [slot.index for turn in talk.turns for slot in turn.slots] == [0, 1, 2]
    drawn = [turn.text for turn in talk.turns[1::2]]
    assert [Path(str(p)).stem for p in talk.pictures] == [*drawn, "red"]
    assert talk.turns[-1].content == (ImageSlot(2), "\n", ASK)


def test_examples_follow_from_the_seed_and_fewer_are_the_first_of_more(data: Path) -> None:
    question, other = asked(data.parent)
    four = [sample.id for sample in shots(data.parent, 4).of(question)]
    assert len(set(four)) == 4
    assert [sample.id for sample in shots(data.parent, 4).of(question)] == four
    assert [sample.id for sample in shots(data.parent, 2).of(question)] == four[:2]
    others = {tuple(s.id for s in shots(data.parent, 4, seed).of(question)) for seed in range(8)}
    assert len(others) > 4
    assert [sample.id for sample in shots(data.parent, 4).of(other)] != four


def test_a_question_is_never_its_own_example_under_whatever_name(data: Path) -> None:
    for question, own in zip(asked(data.parent), ("red", "blue"), strict=True):
        drawn = {sample.id for sample in shots(data.parent, 5).of(question)}
        assert drawn == {*COLOURS} - {own}
    with pytest.raises(DataError, match=r"needs 6 examples that .*, and 1 of them are not there"):
        shots(data.parent, 6).of(question)


def test_a_picture_that_came_without_a_file_is_known_by_its_bytes(data: Path) -> None:
    question, other = asked(data.parent)
    held = (data.parent / "red.png").read_bytes()
    samples = [
        Sample("open", (Turn("user", ("red",)),), (held,)),
        Sample("named", (Turn("user", ("red",)),), (data.parent / "blue.png",)),
    ]
    drawing = shots(data.parent, 1)
    drawing.source = samples  # type: ignore[assignment]
    assert [sample.id for sample in drawing.of(question)] == ["named"]
    assert [sample.id for sample in drawing.of(other)] == ["open"]


def test_words_alone_are_not_asked_twice(data: Path) -> None:
    talk = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]
    more = [talk[0] | {"value": "How?"}, talk[1]]
    write_lines(data.parent / "words.jsonl", [{"conversations": t} for t in (talk, more)])
    (sample,) = shots(data.parent, 1, file=data.parent / "words.jsonl").of(Question(1, "Why?"))
    assert sample.turns[0].text == "How?"


def config(home: Path, data: Path, **shots: Any) -> EvaluationConfig:
    source = {"type": "llava", "file": str(data.parent / "train.jsonl"), "images": str(data.parent)}
    values = {
        "models": {"one": str(home / "one")},
        "benchmarks": {"colours": {"type": "exact_match", "data": str(data)}},
        "shots": {"colours": {"count": 2, "data": source} | shots},
        "out": str(data.parent / "out"),
        "generation": {"max_new_tokens": 6},
    }
    return load(EvaluationConfig, values)


def rows(settings: EvaluationConfig, control: str = "") -> list[dict[str, Any]]:
    file = settings.out / "one" / "colours" / f"answers{control}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_model_is_asked_behind_the_examples_and_answers_say_which(
    home: Path, data: Path
) -> None:
    settings = config(home, data)
    evaluation = Evaluation(settings)
    assert sum(count for count, _ in evaluation.answer("cpu")) == 6
    assistant = load_assistant(home / "one", device="cpu")
    opened = shots(data.parent, 2)
    plain, shuffled = rows(settings), rows(settings, "-shuffled")
    questions = asked(data.parent)
    for row, swapped, question, other in zip(
        plain, shuffled, questions, reversed(questions), strict=True
    ):
        talk: list[dict[str, Any]] = []
        for sample in opened.of(question):
            shown = {"type": "image", "image": str(sample.images[0])}
            talk.append({"role": "user", "content": [shown, {"type": "text", "text": ASK}]})
            talk.append({"role": "assistant", "content": sample.turns[-1].text})
        for said, seen in ((row, question), (swapped, other)):
            last = [{"type": "image", "image": str(seen.images[0])}, {"type": "text", "text": ASK}]
            messages = [*talk, {"role": "user", "content": last}]
            assert said["text"] == assistant.reply(messages, max_new_tokens=6)
        assert row["metadata"]["shots"] == opened.metadata
        assert {"count": 2, "seed": 0}.items() <= row["metadata"]["shots"].items()


def test_answers_behind_other_examples_are_not_mixed(home: Path, data: Path) -> None:
    list(Evaluation(config(home, data)).answer("cpu"))
    Evaluation(config(home, data))
    with pytest.raises(DataError, match="metadata is"):
        Evaluation(config(home, data, seed=1))
    with (data.parent / "train.jsonl").open("a") as file:
        file.write((data.parent / "train.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="metadata is"):
        Evaluation(config(home, data))


def test_what_cannot_be_drawn_is_said_before_a_model_is_loaded(home: Path, data: Path) -> None:
    with pytest.raises(DataError, match=r"shots\.colours: data: question 0 needs 9 examples"):
        Evaluation(config(home, data, count=9))
    with pytest.raises(ConfigError, match=r"shots.color: no benchmark .* Did you mean 'colours'"):
        load(
            EvaluationConfig,
            {
                "models": {"one": "x"},
                "benchmarks": {"colours": {"type": "exact_match", "data": str(data)}},
                "shots": {"color": {"count": 1, "data": {"type": "llava", "file": "x"}}},
            },
        )
    (data.parent / "green.png").unlink()
    with pytest.raises(DataError, match=r"shots\.colours: .*green\.png"):
        Evaluation(config(home, data, count=5))
