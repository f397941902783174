"""Scores are what hand arithmetic makes of outcomes; missing values are never numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.core.contracts import Outcome
from isthmus.evaluate.scoring import Run, compared, open_runs, run_of, score
from tests.evaluate.toys import QUESTIONS, letters, replies, write_lines


def run(texts: str) -> Run:
    return run_of(letters(), QUESTIONS, replies(texts), "toy")


def test_score_and_groups_are_shares_of_right_answers() -> None:
    found = score(letters(), [run("ABBA")])
    assert found.score == 50
    assert found.by == {"odd": 50, "even": 50, "right": 50}
    assert (found.n_total, found.invalid, found.missing) == (4, (), ())


def test_an_unreadable_answer_is_wrong_counted_and_listed() -> None:
    found = score(letters(), [run("AB?B")])
    assert found.score == 75
    assert found.by["odd"] == 50
    assert (found.n_total, found.invalid, found.missing) == (4, (3,), ())
    assert not found.too_many_missing
    assert found.to_json()["n_valid"] == 3


def test_a_missing_value_is_in_no_measure_and_listed() -> None:
    found = score(letters(), [run("A!AA")])
    assert found.score == pytest.approx(200 / 3)
    assert found.by == {"odd": 100, "even": 0, "right": found.score}
    assert (found.invalid, found.missing) == ((2,), (2,))
    assert found.too_many_missing


def test_a_group_without_values_has_no_number_and_neither_have_missing_values_alone() -> None:
    assert score(letters(), [run("A!A!")]).by["even"] is None
    nothing = score(letters(), [run("!!!!")])
    assert nothing.score is None
    assert nothing.interval is None
    assert nothing.too_many_missing
    values = nothing.to_json()
    assert (values["score"], values["n_valid"], values["missing"]) == (None, 0, [1, 2, 3, 4])
    assert set(values["by"].values()) == {None}


def test_one_of_a_hundred_may_be_missing_and_no_more() -> None:
    def many(missing: int) -> bool:
        outcomes = [Outcome.missing()] * missing + [Outcome.of("A", True)] * (200 - missing)
        questions = [QUESTIONS[0]] * 200
        whole = Run(tuple(questions), tuple(replies("A" * 200)), tuple(outcomes))
        return score(letters(), [whole]).too_many_missing

    assert [many(0), many(2), many(3)] == [False, False, True]


def test_runs_give_their_mean_each_and_their_standard_deviation() -> None:
    found = score(letters(), [run("ABAB"), run("ABAA"), run("BAAB")])
    assert found.runs == (100, 75, 50)
    assert found.score == 75
    # The square root of the mean of 25^2, 0 and 25^2.
    assert found.std == pytest.approx((2 * 25**2 / 3) ** 0.5)
    assert found.by["odd"] == pytest.approx((100 + 100 + 50) / 3)
    assert score(letters(), [run("ABAB")]).std is None


def test_files_become_runs_that_know_their_file(tmp_path: Path) -> None:
    rows = [{"question_id": q.id, "text": q.references[0]} for q in QUESTIONS]
    file = write_lines(tmp_path / "a.jsonl", rows)
    (found,) = open_runs(letters(), [file])
    assert found.file == str(file)
    assert found.reads == ["A", "B", "A", "B"]


def test_a_comparison_has_the_second_score_and_the_difference() -> None:
    one, other = run("ABAB"), run("ABBA")
    scores = compared(letters(), one, other, score(letters(), [one]))
    values = scores.to_json()
    assert values["score"] == 100
    assert values["second"]["score"] == 50
    assert values["comparison"]["difference"] == -50
    assert values["comparison"]["n_pairs"] == 4
    # Three images: of 8 exchanges, 4 leave the two wrong answers with one model.
    assert values["comparison"]["p_value"] == 0.5
