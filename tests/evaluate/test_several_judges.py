"""Both orders and several judges are averaged, and their bias and agreement are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.core.data.rows import read_rows
from tests.evaluate.bench import bench, judged, jury_of, number, says, swapped
from tests.loopback import Answer, Asked, loopback


def test_both_orders_are_asked_and_averaged_and_the_bias_is_counted(tmp_path: Path) -> None:
    def judge(asked: Asked) -> Answer:
        # The model deserves 5 and the reference 6; who stands first gets 2 more.
        return says(asked, "7 6" if swapped(asked) else "8 5")

    with loopback(judge) as server:
        run, by = judged(bench(tmp_path, 6), jury_of(server.url, swap=True))
        assert len(server.ledger) == 12
    assert run.outcomes[0].counts == {"reference": 7, "model": 6}
    assert by["position_bias"] == {"index": 2, "consistent": 0, "n_pairs": 6}


def test_a_pair_with_one_order_is_no_pair(tmp_path: Path) -> None:
    def judge(asked: Asked) -> Answer:
        ill = swapped(asked) and number(asked) == 0
        return says(asked, "none" if ill else "6 6")

    with loopback(judge) as server:
        run, by = judged(bench(tmp_path, 4), jury_of(server.url, swap=True))
    assert [outcome.is_missing for outcome in run.outcomes] == [True, False, False, False]
    assert by["position_bias"] == {"index": 0, "consistent": 100, "n_pairs": 3}
    row, _ = read_rows(tmp_path / "reviews.jsonl")[0]
    assert row.keys().isdisjoint({"content", "tuple"})
    assert [review.get("content") for review in row["reviews"]] == ["6 6", "none"]


def test_several_judges_are_averaged_and_their_agreement_is_told(tmp_path: Path) -> None:
    with (
        loopback(lambda asked: says(asked, f"8 {number(asked)}")) as one,
        loopback(lambda asked: says(asked, f"6 {number(asked)}")) as other,
    ):
        run, by = judged(bench(tmp_path, 8), jury_of(one.url, other.url))
    assert run.outcomes[3].counts == {"reference": 7, "model": 3}
    assert [judge["score"] for judge in by["judges"]] == [
        pytest.approx(100 * 28 / 64),
        pytest.approx(100 * 28 / 48),
    ]
    # The model's scores are the same; the references differ between judges alone, so that what
    # is observed, 4, is more than chance: 2 * 8 * 8 * 4 / (16 * 15).
    expected = 2 * 8 * 8 * 4 / (16 * 15)
    assert by["judges_alpha"] == {"reference": pytest.approx(1 - 4 / expected), "model": 1}


def test_one_judge_of_several_who_fails_leaves_the_value_missing(tmp_path: Path) -> None:
    with (
        loopback(lambda asked: says(asked, "8 4")) as one,
        loopback(lambda asked: says(asked, "8 4" if number(asked) else "Sorry.")) as other,
    ):
        run, by = judged(bench(tmp_path, 4), jury_of(one.url, other.url))
    assert [outcome.is_missing for outcome in run.outcomes] == [True, False, False, False]
    assert [judge["n_valid"] for judge in by["judges"]] == [4, 3]
