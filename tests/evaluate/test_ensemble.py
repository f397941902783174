"""Ensembles take the answers that their rule says, and report what their members share."""

from __future__ import annotations

import pytest

from isthmus.core.contracts import Reply
from isthmus.errors import DataError, InputError
from isthmus.evaluate.ensemble import agreement, combine
from isthmus.evaluate.scoring import Run, run_of, score
from tests.evaluate.toys import QUESTIONS, letters, replies


def run(texts: str) -> Run:
    return run_of(letters(), QUESTIONS, replies(texts))


def test_complement_takes_the_second_answer_only_where_the_first_cannot_be_read() -> None:
    # Right are A, B, A, B.
    assert combine(letters(), [run("B?A?"), run("AAB?")], "complement").reads == [
        "B",
        "A",
        "A",
        None,
    ]


def test_majority_takes_what_most_say_and_the_earlier_of_equals() -> None:
    sets = [run("A?BA"), run("BBA?"), run("BBAB")]
    assert combine(letters(), sets, "majority").reads == ["B", "B", "A", "A"]
    assert combine(letters(), [run("????"), run("????")], "majority").reads == [None] * 4


def test_majority_of_two_is_the_first_where_it_speaks() -> None:
    assert combine(letters(), [run("A?BA"), run("BBA?")], "majority").reads == ["A", "B", "B", "A"]


def test_a_judge_decides_where_two_differ_and_nowhere_else() -> None:
    verdicts = [Reply(2, "B"), Reply(3, "A"), Reply(1, "B")]
    judged = combine(letters(), [run("AAAB"), run("ABBB")], "judge", verdicts)
    assert judged.reads == ["A", "B", "A", "B"]
    assert score(letters(), [judged]).score == 100


def test_a_verdict_that_cannot_be_read_is_a_missing_value() -> None:
    judged = combine(letters(), [run("AAAB"), run("ABAB")], "judge", [Reply(2, "both are fine")])
    found = score(letters(), [judged])
    assert (found.score, found.missing, found.n_total) == (100, (2,), 4)


def test_two_verdicts_on_one_question_are_an_error() -> None:
    sets = [run("AAAB"), run("ABAB")]
    with pytest.raises(DataError, match="answered twice: 2"):
        combine(letters(), sets, "judge", [Reply(2, "B"), Reply("2", "A")])


def test_a_verdict_is_needed_for_every_question_on_which_two_differ() -> None:
    with pytest.raises(DataError, match="differ on 2 questions; give --verdicts"):
        combine(letters(), [run("AAAA"), run("ABAB")], "judge")
    with pytest.raises(DataError, match="missing, of 2: 4"):
        combine(letters(), [run("AAAA"), run("ABAB")], "judge", [Reply(2, "B")])


def test_two_rules_take_two_sets() -> None:
    with pytest.raises(InputError, match="by complement takes two sets of answers; found 3"):
        combine(letters(), [run("AAAA")] * 3, "complement")


def test_members_agreement_and_upper_bound_are_counted_by_hand() -> None:
    found = agreement(letters(), [run("AA?A"), run("BB?A")])
    # Right: the first on 1, the second on 2, so 2 of 4 at best; they say the same on the last.
    assert [member["score"] for member in found["members"]] == [25, 25]
    assert found["upper_bound"] == 50
    assert found["agreement"] == 25
