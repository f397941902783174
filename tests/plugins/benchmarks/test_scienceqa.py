"""ScienceQA from its authors' folder and from LLaVA's file; answers that name no choice are
wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.contracts import Benchmark
from isthmus.errors import DataError
from isthmus.evaluate.scoring import run_of, score
from isthmus.plugins.benchmarks.scienceqa import ScienceQA
from isthmus.testing import check_benchmark
from tests.evaluate.toys import replies

PROBLEMS: dict[str, dict[str, Any]] = {
    "1": {
        "question": "Which is hot?",
        "choices": ["ice", "fire", "snow"],
        "answer": 1,
        "hint": "",
        "image": None,
        "grade": "grade2",
        "subject": "natural science",
    },
    "2": {
        "question": "Which word rhymes?",
        "choices": ["hat", "dog"],
        "answer": 0,
        "hint": "A cat sat.",
        "image": None,
        "grade": "grade6",
        "subject": "language science",
    },
    "3": {
        "question": "Which capital is shown?",
        "choices": ["Oslo", "Bern"],
        "answer": 1,
        "hint": "Look at the map.",
        "image": "image.png",
        "grade": "grade7",
        "subject": "social science",
    },
    "4": {
        "question": "What is it?",
        "choices": ["a newt", "a frog"],
        "answer": 0,
        "hint": "",
        "image": "image.png",
        "grade": "grade12",
        "subject": "natural science",
    },
}


@pytest.fixture
def official(tmp_path: Path) -> Path:
    (tmp_path / "problems.json").write_text(json.dumps({**PROBLEMS, "9": PROBLEMS["1"]}))
    splits = {"test": list(PROBLEMS), "val": ["9"]}
    (tmp_path / "pid_splits.json").write_text(json.dumps(splits))
    return tmp_path


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """The same problems as LLaVA writes them."""
    folder = tmp_path / "converted"
    folder.mkdir()
    records = []
    for id, problem in PROBLEMS.items():
        lines = [f"Context: {problem['hint']}"] if problem["hint"] else []
        lines += [problem["question"]]
        lines += [f"{'ABC'[at]}. {choice}" for at, choice in enumerate(problem["choices"])]
        image = {"image": f"{id}/image.png"} if problem["image"] else {}
        asked = ("<image>\n" if image else "") + "\n".join(lines)
        turns = [("human", asked), ("gpt", "ABC"[problem["answer"]])]
        said = [{"from": who, "value": value} for who, value in turns]
        records.append({"id": id, **image, "conversations": said})
    (folder / "llava_test_CQM-A.json").write_text(json.dumps(records))
    with (folder / "id_grade_subject.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question_id", "question_id_no0", "grade", "subject"])
        for id, problem in PROBLEMS.items():
            writer.writerow([id, id, problem["grade"].removeprefix("grade"), problem["subject"]])
    return folder


def opened(data: Path, **fields: Any) -> Benchmark:
    made: Benchmark = ScienceQA.Config(data=data, **fields).build()
    return made


def scores(benchmark: Benchmark, texts: list[str]) -> Any:
    return score(benchmark, [run_of(benchmark, benchmark.questions(), replies(texts))])


@pytest.mark.parametrize("folder", ["official", "converted"])
def test_nine_columns_are_counted_by_hand(folder: str, request: pytest.FixtureRequest) -> None:
    benchmark = opened(request.getfixturevalue(folder))
    found = scores(benchmark, ["B", "The answer is A.", "A. Oslo", "no idea"])
    assert found.by == {
        "NAT": 50,
        "SOC": 0,
        "LAN": 100,
        "TXT": 50,
        "IMG": 0,
        "NO": 100,
        "G1-6": 100,
        "G7-12": 0,
        "Avg": 50,
    }
    assert (found.n_total, found.invalid, found.missing) == (4, ("4",), ())


@pytest.mark.parametrize("folder", ["official", "converted"])
def test_a_letter_of_no_choice_is_invalid(folder: str, request: pytest.FixtureRequest) -> None:
    benchmark = opened(request.getfixturevalue(folder))
    assert scores(benchmark, ["C", "C", "C", "C"]).invalid == ("2", "3", "4")


def test_both_forms_have_the_same_questions(official: Path, converted: Path) -> None:
    assert opened(official).questions() == opened(converted).questions()


def test_prompts_have_their_order(official: Path) -> None:
    def prompt(name: str, **fields: Any) -> str:
        return opened(official, prompt=name, **fields).questions()[1].prompt

    cqm = "Context: A cat sat.\nWhich word rhymes?\nA. hat\nB. dog"
    qcm = "Question: Which word rhymes?\nContext: A cat sat.\nOptions: (A) hat (B) dog"
    assert prompt("CQM-A", instruct=False) == cqm
    assert {prompt(f"QCM-{what}", instruct=False) for what in ("A", "ALE", "LEA")} == {qcm}
    asked = [prompt(f"QCM-{what}").removeprefix(f"{qcm}\n") for what in ("A", "ALE", "LEA")]
    assert len(set(asked)) == 3
    assert asked[1].startswith('Begin with "The answer is X."')
    assert opened(official, prompt="QCM-A").questions()[0].prompt.splitlines()[1] == "Context: N/A"


def test_images_and_choices_go_with_the_question(official: Path) -> None:
    benchmark = opened(official)
    question = benchmark.questions()[2]
    assert question.images == ("3/image.png",)
    assert benchmark.image_folder == official / "images" / "test"
    assert (question.options, question.references) == (("Oslo", "Bern"), ("B",))


def test_other_splits_are_there(official: Path) -> None:
    assert [question.id for question in opened(official, split="val").questions()] == ["9"]
    with pytest.raises(DataError, match=r"no split 'tset'. Splits: test, val"):
        opened(official, split="tset").questions()


def test_without_the_table_the_columns_by_subject_are_not_there(converted: Path) -> None:
    (converted / "id_grade_subject.csv").unlink()
    assert set(scores(opened(converted), ["B"] * 4).by) == {"TXT", "IMG", "NO", "Avg"}


def test_context_that_looks_like_choices_is_none(converted: Path) -> None:
    file = converted / "llava_test_CQM-A.json"
    records = json.loads(file.read_text())
    asked = records[0]["conversations"][0]
    asked["value"] = "Context: Two lines.\nA. one\nB. two\n" + asked["value"]
    file.write_text(json.dumps(records))
    assert opened(converted).questions()[0].options == ("ice", "fire", "snow")


def test_llavas_file_has_no_other_prompts(converted: Path) -> None:
    with pytest.raises(DataError, match=r"QCM-ALE needs problems\.json"):
        opened(converted, prompt="QCM-ALE").questions()


def test_data_that_is_not_scienceqas_is_named(official: Path, tmp_path: Path) -> None:
    (official / "problems.json").write_text(json.dumps({"1": {"question": "x"}}))
    with pytest.raises(DataError, match=r"problem 1: not as ScienceQA has them \(KeyError"):
        opened(official).questions()
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"no file llava_test_\*-A\.json"):
        opened(empty).questions()


def test_it_keeps_the_contract(official: Path) -> None:
    check_benchmark(ScienceQA.Config(data=official), ["A", "The answer is B.", "C. snow"])
