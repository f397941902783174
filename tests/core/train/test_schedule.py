"""Learning rates against numbers worked out by hand."""

import math

import pytest

from isthmus.core.train.config import ScheduleConfig
from isthmus.core.train.schedule import lr_factor, warmup_steps


def course(steps: int, **fields: object) -> list[float]:
    config = ScheduleConfig(**fields)
    return [lr_factor(config, step, steps) for step in range(steps)]


def test_warmup_below_one_is_a_share_rounded_up_and_above_a_count():
    assert warmup_steps(ScheduleConfig(warmup=0.03), 100) == 3
    assert warmup_steps(ScheduleConfig(warmup=0.03), 101) == 4
    assert warmup_steps(ScheduleConfig(warmup=20), 100) == 20
    assert warmup_steps(ScheduleConfig(warmup=0), 100) == 0


def test_linear_falls_in_equal_parts_after_warmup():
    # 3 steps of warm-up: 1/4, 2/4, 3/4; then 5 steps from 1, each 1/5 lower.
    expected = [0.25, 0.5, 0.75, 1.0, 0.8, 0.6, 0.4, 0.2]
    assert course(8, type="linear", warmup=3) == pytest.approx(expected)


def test_cosine_passes_its_known_points():
    found = course(12, type="cosine", warmup=0)
    assert found[0] == 1.0
    assert found[4] == pytest.approx(0.75)  # cos(60 deg) = 1/2
    assert found[6] == pytest.approx(0.5)  # cos(90 deg) = 0
    assert found[8] == pytest.approx(0.25)
    assert found[11] == pytest.approx((1 - math.cos(math.pi / 12)) / 2)


def test_end_is_a_share_of_the_first_rate():
    found = course(10, type="linear", warmup=0, end=0.1)
    assert found[0] == 1.0
    assert found[5] == pytest.approx(0.55)  # half way between 1 and 0.1
    assert lr_factor(ScheduleConfig(type="linear", warmup=0, end=0.1), 10, 10) == 0.1


def test_constant_stays_after_warmup():
    assert course(5, type="constant", warmup=1) == [0.5, 1.0, 1.0, 1.0, 1.0]


def test_warmup_longer_than_the_stage_only_rises():
    assert course(3, warmup=5) == pytest.approx([1 / 6, 2 / 6, 3 / 6])
