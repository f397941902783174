"""Steps: the same samples for any number of processes, in an order that seed and epoch give."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.data.mixture import Mixture
from isthmus.core.data.plan import Plan, deal, micro_batches
from isthmus.errors import DataError, InputError
from tests.core.data.toys import numbered

MIXTURE = Mixture([numbered(23)])
LENGTHS = [i % 5 + 1 for i in range(23)]


def stream(plan: Plan) -> list[int]:
    return [number for step in range(plan.steps) for number in plan.numbers(step)]


def test_an_epoch_uses_every_sample_once_and_ends_with_what_is_left():
    plan = Plan(MIXTURE, samples=5, epochs=1)
    assert plan.steps == 5
    assert [len(plan.numbers(step)) for step in range(5)] == [5, 5, 5, 5, 3]
    assert sorted(stream(plan)) == list(range(23))
    with pytest.raises(IndexError):
        plan.numbers(5)


def test_epochs_follow_one_another_and_may_end_in_the_middle():
    plan = Plan(MIXTURE, samples=5, epochs=2.5)
    numbers = stream(plan)
    assert plan.num_samples == len(numbers) == 58
    assert numbers[:23] == MIXTURE.epoch(0, 0).tolist()
    assert numbers[23:46] == MIXTURE.epoch(0, 1).tolist()
    assert numbers[46:] == MIXTURE.epoch(0, 2).tolist()[:12]


def test_steps_go_on_through_the_epochs():
    plan = Plan(MIXTURE, samples=10, steps=7, seed=4)
    assert plan.steps == 7
    assert Counter(stream(plan)).total() == 70
    assert stream(plan)[:46] == [n for e in (0, 1) for n in MIXTURE.epoch(4, e).tolist()]


def test_steps_of_tokens_are_full_and_not_over():
    for plan in (
        Plan(MIXTURE, tokens=11, epochs=2, lengths=LENGTHS),
        Plan(MIXTURE, tokens=11, steps=12, lengths=LENGTHS),
        Plan(MIXTURE, tokens=3, epochs=1, lengths=LENGTHS),
    ):
        numbers = stream(plan)
        tokens = [[LENGTHS[n] for n in plan.numbers(step)] for step in range(plan.steps)]
        limit = 3 if plan.num_samples == 23 else 11
        assert all(sum(step) <= limit or len(step) == 1 for step in tokens)
        firsts = [step[0] for step in tokens[1:]]
        assert all(sum(s) + f > limit for s, f in zip(tokens, firsts, strict=False))
        assert numbers[:23] == MIXTURE.epoch(0, 0).tolist()
    assert Plan(MIXTURE, tokens=11, steps=12, lengths=LENGTHS).steps == 12
    assert Plan(MIXTURE, tokens=11, epochs=2, lengths=LENGTHS).num_samples == 46


def test_without_shuffle_an_epoch_is_every_sample_once_in_order():
    plan = Plan(Mixture([numbered(4, 0.5), numbered(3, 2.0)]), samples=3, epochs=1, shuffle=False)
    assert stream(plan) == list(range(7))


def test_any_step_is_the_same_in_a_fresh_plan_in_any_order_of_asking():
    plan = Plan(MIXTURE, samples=5, epochs=3, seed=2)
    again = pickle.loads(pickle.dumps(plan))
    asked = [11, 0, 13, 4, 5, 9]
    assert [plan.numbers(step) for step in asked] == [again.numbers(step) for step in asked]


@given(
    world=st.integers(1, 9),
    size=st.integers(1, 12),
    known=st.booleans(),
)
def test_shares_are_a_partition_of_the_step(world, size, known):
    plan = Plan(MIXTURE, samples=size, epochs=1, lengths=LENGTHS if known else None)
    for step in range(plan.steps):
        shares = [group for rank in range(world) for group in plan.share(step, rank, world)]
        assert sorted(n for share in shares for n in share) == sorted(plan.numbers(step))
        if known:
            loads = [sum(LENGTHS[n] for n in share) for share in shares]
            assert max(loads) - min(loads) <= max(LENGTHS)
        else:
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(
    lengths=st.lists(st.integers(0, 50), max_size=30),
    samples=st.none() | st.integers(1, 8),
    tokens=st.none() | st.integers(1, 100),
)
def test_micro_batches_hold_their_bounds_and_every_sample(lengths, samples, tokens):
    groups = micro_batches(lengths, samples, tokens)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    assert all(group and group == sorted(group) for group in groups)
    if samples is not None:
        assert all(len(group) <= samples for group in groups)
    if tokens is not None:
        loads = [sum(lengths[i] for i in group) for group in groups]
        assert all(
            load <= tokens or len(group) == 1 for load, group in zip(loads, groups, strict=True)
        )
    if samples is None and tokens is None:
        assert len(groups) == min(1, len(lengths))


def test_micro_batches_are_even():
    assert [len(group) for group in micro_batches([1] * 40, samples=32)] == [20, 20]
    assert deal([9, 5, 4, 1], 2) == [[0, 3], [1, 2]]


def test_plan_that_cannot_be_made_is_refused():
    with pytest.raises(InputError, match="`samples` or `tokens`"):
        Plan(MIXTURE, epochs=1)
    with pytest.raises(InputError, match="`epochs` or `steps`"):
        Plan(MIXTURE, samples=1)
    with pytest.raises(InputError, match="need the samples' lengths"):
        Plan(MIXTURE, tokens=8, epochs=1)
    with pytest.raises(DataError, match="no sample can be used"):
        Plan(MIXTURE, tokens=8, steps=2, lengths=[0] * 23)
    with pytest.raises(DataError, match=r"data\[1\]: at weight 0\.04, .*no sample of its 10;"):
        Plan(Mixture([numbered(30), numbered(10, 0.04)]), samples=1, epochs=1)
