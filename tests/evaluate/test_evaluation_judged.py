"""What only a judge can score is answered, waits for one, and is scored as it said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from isthmus.core.chat import Journal
from isthmus.core.contracts import JudgedBenchmark, Question, Reply
from isthmus.errors import DataError
from isthmus.evaluate.judging import Jury
from tests.evaluate.bench import jury_of, says
from tests.evaluate.colours import COLOURS, LOOKS, carry_out, config, paint, texts
from tests.evaluate.toys import write_lines
from tests.loopback import loopback
from tests.tiny_run import save_tiny_run


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model, `one`."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_run(folder / "one", LOOKS)
    return folder


@pytest.fixture
def vet(tmp_path: Path) -> Path:
    """The file of an MM-Vet, with a question about each picture."""
    rows = {
        f"v1_{number}": {
            "question": "What is in the picture?",
            "answer": colour,
            "imagename": f"{colour}.png",
            "capability": ["rec"],
        }
        for number, colour in enumerate(COLOURS)
    }
    (tmp_path / "images").mkdir()
    paint(tmp_path / "images")
    file = tmp_path / "mm-vet.json"
    file.write_text(json.dumps(rows))
    return file


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


def test_answers_that_need_a_judge_wait_for_one(models: Path, vet: Path) -> None:
    settings = config(models, vet, benchmark="mm_vet", controls=["blank"])
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


def test_a_jury_is_a_judge_of_what_was_answered(models: Path, vet: Path) -> None:
    evaluation = carry_out(config(models, vet, benchmark="mm_vet"))
    with (
        loopback(lambda asked: says(asked, "0.5")) as server,
        Journal(vet.parent / "journal.sqlite") as journal,
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
