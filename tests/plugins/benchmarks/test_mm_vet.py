"""MM-Vet: grades by capability, over runs, and only where a grade is on the scale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import DataError
from isthmus.plugins.benchmarks.mm_vet import MmVet
from isthmus.testing import check_benchmark
from tests.evaluate.toys import scored, write_lines

VET = {
    "v1_0": {
        "imagename": "a.png",
        "question": "1+1?",
        "answer": "2",
        "capability": ["math", "ocr"],
    },
    "v1_1": {"imagename": "b.png", "question": "Who?", "answer": "A<OR>B", "capability": ["rec"]},
    "v1_2": {
        "imagename": "b.png",
        "question": "Where?",
        "answer": "C",
        "capability": ["rec", "ocr"],
    },
}
GRADES = {
    "v1_0": {"model": ["gpt-4", "gpt-4"], "content": ["1.0", "0.5"], "score": [1.0, 0.5]},
    "v1_1": {"model": ["gpt-4", "gpt-4"], "content": ["0.2", "0.2"], "score": [0.2, 0.2]},
    "v1_2": {"model": ["gpt-4", "gpt-4"], "content": ["0.0", "0.2"], "score": [0.0, 0.2]},
}


@pytest.fixture
def vet(tmp_path: Path) -> Path:
    (tmp_path / "mm-vet.json").write_text(json.dumps(VET))
    (tmp_path / "grades.json").write_text(json.dumps(GRADES))
    return tmp_path


def test_mm_vet_by_capability_over_runs_is_counted_by_hand(vet: Path) -> None:
    found = scored(MmVet.Config(data=vet), vet / "grades.json")
    assert found.runs == (pytest.approx(40), pytest.approx(30))
    assert found.score == pytest.approx(35)
    assert found.std == pytest.approx(5)
    assert {name: round(value or 0, 6) for name, value in found.by.items()} == {
        "rec": 15,  # 10 and 20
        "ocr": 42.5,  # 50 and 35
        "math": 75,
        "math+ocr": 75,
        "ocr+rec": 10,
        "total": 35,
    }


def test_grades_can_be_scored_without_the_questions(vet: Path, tmp_path: Path) -> None:
    assert set(scored(MmVet.Config(), vet / "grades.json").by) == {"total"}
    rows = [
        {"question_id": id, "score": GRADES[id]["score"][0], "capability": row["capability"]}
        for id, row in VET.items()
    ]
    found = scored(MmVet.Config(), write_lines(tmp_path / "grades.jsonl", rows))
    assert found.by["rec"] == pytest.approx(10)


@pytest.mark.parametrize("score", [-1, 1.5, None, "good", float("nan"), 2])
def test_a_grade_off_the_scale_is_a_missing_value(score: Any, vet: Path) -> None:
    grades = {**GRADES, "v1_1": {"score": [score, 0.2]}}
    (vet / "grades.json").write_text(json.dumps(grades))
    found = scored(MmVet.Config(data=vet), vet / "grades.json")
    assert found.missing == ("v1_1",)
    assert found.runs == (pytest.approx(50), pytest.approx(30))


def test_a_grade_for_every_question_is_needed(vet: Path) -> None:
    (vet / "grades.json").write_text(json.dumps({"v1_0": GRADES["v1_0"]}))
    with pytest.raises(DataError, match="missing, of 3: v1_1, v1_2"):
        scored(MmVet.Config(data=vet), vet / "grades.json")


def test_most_of_mm_vets_grades_must_be_all_of_them(tmp_path: Path) -> None:
    grades: dict[str, Any] = {f"v1_{n}": {"score": [0.5, 1.0]} for n in range(218)}
    file = tmp_path / "grades.json"
    file.write_text(json.dumps(grades))
    assert (scored(MmVet.Config(), file).score, scored(MmVet.Config(), file).n_total) == (75, 218)
    del grades["v1_7"]
    file.write_text(json.dumps(grades))
    with pytest.raises(DataError, match="1 question ids missing, of 218: v1_7"):
        scored(MmVet.Config(), file)


@pytest.mark.parametrize("id", ["v1_0", "v1_1", "v1_2"])
def test_a_question_without_a_grade_is_missing_in_every_run(id: str, vet: Path) -> None:
    (vet / "grades.json").write_text(json.dumps({**GRADES, id: {"content": [], "score": []}}))
    for config in (MmVet.Config(), MmVet.Config(data=vet)):
        found = scored(config, vet / "grades.json")
        assert (found.missing, found.n_total, len(found.runs)) == ((id,), 3, 2)


def test_mm_vet_keeps_the_contract(vet: Path) -> None:
    check_benchmark(MmVet.Config(data=vet), ["0.5", "1", "0.0", "1.1"])
