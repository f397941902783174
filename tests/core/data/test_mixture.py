"""Weights and order of an epoch."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest

from isthmus.core.data.mixture import Mixture
from tests.core.data.toys import numbered


def test_numbers_go_through_the_sources_one_after_another():
    mixture = Mixture([numbered(3), numbered(2, first=10)])
    assert [mixture[i].id for i in range(len(mixture))] == ["0", "1", "2", "10", "11"]
    for outside in (-1, 5):
        with pytest.raises(IndexError):
            mixture[outside]


def test_weight_says_how_often_an_epoch_uses_each_sample():
    mixture = Mixture([numbered(10, 2.0), numbered(10, 0.5), numbered(10, 1.3), numbered(4)])
    assert mixture.epoch_size == 20 + 5 + 13 + 4
    used = Counter(mixture.epoch(0, 0).tolist())
    assert [used[i] for i in range(10)] == [2] * 10
    assert sorted(used[i] for i in range(10, 20)) == [0] * 5 + [1] * 5
    assert sorted(used[i] for i in range(20, 30)) == [1] * 7 + [2] * 3
    assert [used[i] for i in range(30, 34)] == [1] * 4


def test_given_weights_go_before_those_of_the_configs():
    sources = [numbered(4, 2.0), numbered(4, 2.0)]
    assert Mixture(sources, [1, 1]).epoch_size == 8
    assert Mixture(sources).epoch_size == 16


def test_order_follows_from_seed_and_epoch_alone():
    mixture = Mixture([numbered(50), numbered(50, 0.5)])
    again = pickle.loads(pickle.dumps(mixture))
    assert mixture.epoch(3, 1).tolist() == again.epoch(3, 1).tolist()
    orders = {tuple(mixture.epoch(seed, epoch).tolist()) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4
    halves = [frozenset(n for n in mixture.epoch(0, epoch).tolist() if n >= 50) for epoch in (0, 1)]
    assert halves[0] != halves[1]


def test_fingerprint_changes_with_records_weights_and_order():
    a, b = numbered(3), numbered(3, first=5)
    prints = {
        Mixture([a, b]).fingerprint,
        Mixture([b, a]).fingerprint,
        Mixture([a]).fingerprint,
        Mixture([a, numbered(3, 2.0, first=5)]).fingerprint,
    }
    assert len(prints) == 4
    assert Mixture([a, b]).fingerprint == Mixture([numbered(3), b]).fingerprint
