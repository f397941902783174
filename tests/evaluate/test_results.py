"""Scores beside their controls, models in pairs, and the most frequent answer, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.contracts import Outcome, Question
from isthmus.core.data.question_file import read_question_file
from isthmus.errors import DataError, InputError
from isthmus.evaluate.evaluation import write_scores
from isthmus.evaluate.frequent import most_frequent
from isthmus.evaluate.merging import read_evaluations
from isthmus.evaluate.results import averaged
from isthmus.evaluate.scoring import run_of
from isthmus.plugins.benchmarks.exact_match import ExactMatch
from tests.evaluate.answered import write_answers, write_evaluation
from tests.evaluate.toys import QUESTIONS, letters, replies, write_lines

RIGHT = {1: "a", 2: "b", 3: "a", 4: "b", 5: "b"}
"""Questions 1 and 2 are about one picture; 1, 3 and 5 are odd."""


@pytest.fixture
def benchmark(tmp_path: Path) -> dict[str, Any]:
    rows = [
        {
            "question_id": id,
            "image": f"{max(2, id)}.png",
            "text": "?",
            "answer": answer,
            "category": "odd" if id % 2 else "even",
        }
        for id, answer in RIGHT.items()
    ]
    file = write_lines(tmp_path / "questions.jsonl", rows)
    return {"abc": {"type": "exact_match", "data": str(file)}}


def answers(letters: str) -> dict[int | str, str]:
    return dict(zip(RIGHT, letters, strict=True))


def test_a_score_stands_beside_its_controls_and_what_seeing_gains(
    tmp_path: Path, benchmark: dict[str, Any]
) -> None:
    given = {
        ("one", "abc", ""): answers("abaab"),
        ("one", "abc", "-blank"): answers("bbbbb"),
        ("one", "abc", "-shuffled"): answers("ccccc"),
    }
    config = write_evaluation(tmp_path / "out", benchmark, given)
    (section,) = read_evaluations([config.out]).sections
    write_scores(config.out, [section])
    found = json.loads((config.out / "one" / "abc" / "scores.json").read_text())
    assert found["score"] == 80
    assert found["by"] == {"odd": 100, "even": 50, "accuracy": 80}
    blank, shuffled = found["controls"]["blank"], found["controls"]["shuffled"]
    assert (blank["score"], blank["gain"]["difference"]) == (60, 20)
    assert (shuffled["score"], shuffled["gain"]["difference"]) == (0, 80)
    # Four pictures: of 16 exchanges those that leave all of the gain on one side are extreme.
    assert shuffled["gain"]["p_value"] == pytest.approx(4 / 16)
    assert json.loads((config.out / "comparisons.json").read_text()) == []


def test_models_are_compared_in_pairs_wherever_they_were_evaluated(
    tmp_path: Path, benchmark: dict[str, Any]
) -> None:
    first = {("one", "abc", ""): answers("abaab"), ("two", "abc", ""): answers("abab ")}
    write_evaluation(tmp_path / "first", benchmark, first)
    write_evaluation(tmp_path / "second", benchmark, {("one", "abc", ""): answers("ccccc")})
    (section,) = read_evaluations([tmp_path / "first", tmp_path / "second"]).sections
    assert [entry.model for entry in section.entries] == ["one", "two", "one (second)"]
    pairs = {(pair.first, pair.second): pair.comparison for pair in section.pairs}
    assert {names: found.difference for names, found in pairs.items()} == {
        ("one", "two"): 0,
        ("one", "one (second)"): -80,
        ("two", "one (second)"): -80,
    }
    assert pairs["one", "two"].p_value == 1


def test_folders_of_one_name_keep_their_models_apart(
    tmp_path: Path, benchmark: dict[str, Any]
) -> None:
    folders = [tmp_path / name / "out" for name in "abc"]
    for folder in folders:
        write_evaluation(folder, benchmark, {("one", "abc", ""): answers("abaab")})
    (section,) = read_evaluations(folders).sections
    names = [entry.model for entry in section.entries]
    assert names == ["one", "one (out)", f"one ({folders[2]})"]


def test_the_most_frequent_answer_is_that_of_the_category(
    tmp_path: Path, benchmark: dict[str, Any]
) -> None:
    write_evaluation(tmp_path / "out", benchmark, {("one", "abc", ""): answers("ccccc")})
    (section,) = read_evaluations([tmp_path / "out"]).sections
    assert section.frequent is not None
    # Odd: a, a, b. Even: b, b.
    assert section.frequent.by == {"odd": pytest.approx(200 / 3), "even": 100, "accuracy": 80}
    other = ExactMatch.Config(data=Path(benchmark["abc"]["data"])).build()
    asked = read_question_file(Path(benchmark["abc"]["data"]))
    assert most_frequent(other, [*asked, Question(9)]) is None


def test_several_runs_are_compared_on_average() -> None:
    runs = [run_of(letters(), QUESTIONS, replies(texts)) for texts in ("AB!B", "BBAB", "ABAB")]
    found = averaged(runs)
    assert [outcome.right for outcome in found] == [pytest.approx(2 / 3), 1, None, 1]
    assert found[2] == Outcome.missing()
    assert averaged(runs[:1]) == list(runs[0].outcomes)


def test_what_is_not_answered_to_the_end_is_said_and_left_out(
    tmp_path: Path, benchmark: dict[str, Any]
) -> None:
    given = {("one", "abc", ""): answers("abaab"), ("two", "abc", ""): answers("abaab")}
    config = write_evaluation(tmp_path / "out", benchmark, given)
    file = config.out / "two" / "abc" / "answers.jsonl"
    file.rename(file.with_name("answers.jsonl.partial"))
    read = read_evaluations([config.out])
    assert [entry.model for entry in read.sections[0].entries] == ["one"]
    assert read.notes == [f"{config.out}: two has not answered abc to the end"]
    (config.out / "one" / "abc" / "answers.jsonl").unlink()
    with pytest.raises(InputError, match="nothing is answered to the end yet"):
        read_evaluations([config.out])


def test_folders_that_do_not_fit_are_refused(tmp_path: Path, benchmark: dict[str, Any]) -> None:
    given = {("one", "abc", ""): answers("abaab")}
    write_evaluation(tmp_path / "first", benchmark, given)
    with pytest.raises(InputError, match=r"no evaluation's folder.*evaluation\.yaml"):
        read_evaluations([tmp_path])
    with pytest.raises(InputError, match="it was given twice"):
        read_evaluations([tmp_path / "first"] * 2)
    few = write_lines(tmp_path / "few.jsonl", [{"question_id": 1, "text": "?", "answer": "a"}])
    other = {"abc": {"type": "exact_match", "data": str(few)}}
    write_evaluation(tmp_path / "second", other, {("two", "abc", ""): {1: "a"}})
    with pytest.raises(InputError, match="'abc' has other questions than that of"):
        read_evaluations([tmp_path / "first", tmp_path / "second"])
    write_answers(tmp_path / "first" / "one" / "abc" / "answers.jsonl", "one", {1: "a"})
    with pytest.raises(DataError, match="4 question ids missing, of 5"):
        read_evaluations([tmp_path / "first"])
