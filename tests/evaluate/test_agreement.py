"""Krippendorff's alpha is that of its inventor's worked example, and of another program."""

from __future__ import annotations

import random

import krippendorff
import numpy as np
import pytest

from isthmus.evaluate.agreement import Level, alpha

_ = None
# Krippendorff (2011), section E: four observers, twelve units, missing values.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]


@pytest.mark.parametrize(
    ("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_is_that_of_the_published_example(level: Level, published: float) -> None:
    assert alpha(OBSERVERS, level) == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_another_programs(level: Level, seed: int) -> None:
    draw = random.Random(seed)
    raters = [[draw.choice([_, 1, 2, 3, 5]) for _unit in range(30)] for _rater in range(3)]
    table = np.array([[np.nan if value is None else value for value in row] for row in raters])
    wanted = krippendorff.alpha(reliability_data=table, level_of_measurement=level)
    assert alpha(raters, level) == pytest.approx(wanted)


def test_agreement_is_one_chance_is_nought_and_words_can_be_rated() -> None:
    assert alpha([["A", "B", "A"], ["A", "B", "A"]]) == 1
    assert alpha([["A", "B"], ["B", "A"]]) == pytest.approx(1 - 3 * 4 / 8)


def test_nothing_to_agree_on_has_no_alpha() -> None:
    assert alpha([["A", "A"], ["A", "A"]]) is None
    assert alpha([["A", _], [_, "B"]]) is None
    assert alpha([[], []]) is None
