"""Intervals cover the truth as often as they say; the permutation test is exact where it can be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from isthmus.core.contracts import Outcome
from isthmus.evaluate.intervals import compare, interval, student_t
from isthmus.evaluate.sums import headline
from tests.evaluate.toys import letters

SCORE = headline(letters())


def outcomes(values: object) -> list[Outcome]:
    return [Outcome.of("A", value) for value in np.asarray(values, float)]


def coverage(images: int, each: int, simulations: int = 500) -> float:
    """How often the interval has the truth in it, where the answers about an image are alike:
    its difficulty is drawn, then each answer."""
    random = np.random.default_rng(1)
    clusters = [number // each for number in range(images * each)]
    covered = 0
    for number in range(simulations):
        difficulty = random.beta(2, 1, images).repeat(each)
        right = random.random(images * each) < difficulty
        found = interval(SCORE, [outcomes(right)], clusters, draws=400, seed=number)
        assert found is not None
        covered += found[0] <= 100 * 2 / 3 <= found[1]
    return covered / simulations


@pytest.mark.parametrize(("images", "each"), [(100, 3), (30, 3)])
def test_interval_covers_the_truth_in_93_to_97_percent_of_500_simulations(
    images: int, each: int
) -> None:
    assert 0.93 <= coverage(images, each) <= 0.97


def test_answers_about_one_image_are_drawn_together() -> None:
    right = np.random.default_rng(0).random(60) < 0.5
    copies = outcomes(right.repeat(4))
    alone = interval(SCORE, [outcomes(right)], range(60))
    together = interval(SCORE, [copies], [number // 4 for number in range(240)])
    apart = interval(SCORE, [copies], range(240))
    assert together == pytest.approx(alone, abs=1e-9)
    assert apart is not None
    assert together is not None
    # Four copies of every answer tell no more, but seem to where they count as independent.
    assert apart[1] - apart[0] == pytest.approx((together[1] - together[0]) / 2, rel=0.15)


def test_interval_is_the_same_each_time_and_has_the_score_in_it() -> None:
    values = outcomes(np.arange(50) % 3 == 0)
    assert interval(SCORE, [values], range(50)) == interval(SCORE, [values], range(50))
    low, high = interval(SCORE, [values], range(50)) or (0, 0)
    assert 0 < low < SCORE({"right": 17, "questions": 50}) < high < 100


def test_interval_of_a_mean_is_students_within_the_resolution_of_the_draws() -> None:
    values = np.random.default_rng(3).normal(0.6, 0.1, 25)
    low, high = interval(SCORE, [outcomes(values)], range(25), draws=20_000) or (0, 0)
    half = stats.t.ppf(0.975, 24) * 100 * values.std(ddof=1) / 5
    assert low == pytest.approx(100 * values.mean() - half, abs=0.3)
    assert high == pytest.approx(100 * values.mean() + half, abs=0.3)


def test_one_image_has_no_interval() -> None:
    assert interval(SCORE, [outcomes([1, 0, 1])], [0, 0, 0]) is None
    assert interval(SCORE, [[Outcome.missing()] * 5], range(5)) is None


def test_missing_values_do_not_widen_an_interval() -> None:
    values = outcomes(np.arange(40) % 2)
    with_gaps = [*values, *[Outcome.missing()] * 4]
    found = interval(SCORE, [with_gaps], [*range(40), *range(4)])
    assert found == pytest.approx(interval(SCORE, [values], range(40)))


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 10, 23, 100, 4240])
def test_students_quantile_is_scipys(freedom: int) -> None:
    assert student_t(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=5e-3)


def test_permutation_test_tries_every_exchange_of_a_few_images() -> None:
    one, other = [1, 1, 0, 1, 0, 1, 1], [0, 1, 0, 0, 0, 1, 0]
    clusters = [0, 0, 1, 2, 3, 4, 4]
    found = compare(SCORE, outcomes(one), outcomes(other), clusters)
    change = np.bincount(clusters, np.subtract(other, one))
    tried = [abs(np.dot(signs, change)) for signs in itertools.product((1, -1), repeat=5)]
    assert found is not None
    assert found.difference == pytest.approx(100 * (2 - 5) / 7)
    assert found.p_value == np.mean([value >= abs(change.sum()) for value in tried])


def test_permutation_test_of_many_images_agrees_with_the_sign_test() -> None:
    # 40 questions differ, 28 for the second model; the others cannot tell.
    one = outcomes([1] * 12 + [0] * 28 + [1] * 60)
    other = outcomes([0] * 12 + [1] * 28 + [1] * 60)
    found = compare(SCORE, one, other, range(100))
    assert found is not None
    assert found.p_value == pytest.approx(stats.binomtest(28, 40).pvalue, abs=0.005)


def test_permutation_test_is_right_where_nothing_differs() -> None:
    random = np.random.default_rng(5)
    found = [
        compare(
            SCORE,
            outcomes(random.random(60) < 0.6),
            outcomes(random.random(60) < 0.6),
            range(60),
            draws=199,
            seed=seed,
        )
        for seed in range(300)
    ]
    share = np.mean([each.p_value <= 0.05 for each in found if each])
    assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_a_pair_that_lacks_a_value_is_left_out_of_both() -> None:
    one = [*outcomes([1, 1, 0]), Outcome.missing(), *outcomes([1])]
    other = [*outcomes([1, 0, 0, 1]), Outcome.missing()]
    found = compare(SCORE, one, other, range(5))
    assert found is not None
    assert (found.n_pairs, found.difference) == (3, pytest.approx(-100 / 3))
    nothing = [Outcome.missing()] * 5
    assert compare(SCORE, nothing, other, range(5)) is None
