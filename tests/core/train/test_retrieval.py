"""Recall over a set whose pictures have several texts, beside a loop over sorted lists."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from isthmus.core.contracts import Images
from isthmus.core.data.matches import VECTORS, shared
from isthmus.core.model.contrast import chance
from isthmus.core.train import retrieval as retrieval_room
from isthmus.core.train.parallel import Parallel
from isthmus.core.train.retrieval import Retrieval
from tests.plugins.objectives.matches import matches


def test_recall_counts_each_picture_and_each_text_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retrieval_room, "ROWS", 7)
    torch.manual_seed(0)
    pictures, texts = (F.normalize(torch.randn(n, 6), dim=1) for n in (20, 100))
    texts = F.normalize(texts + 0.7 * pictures.repeat_interleave(5, dim=0), dim=1)
    retrieval = Retrieval()
    nothing = Images(torch.zeros(25, 3, 1, 1, dtype=torch.uint8), (1,) * 25, ())
    for numbers in torch.randperm(100).split(25):
        keys = torch.stack([numbers // 5, numbers, numbers], dim=1)
        batch = shared(replace(matches(nothing, [[1]] * 25, keys)))
        batch.leave(VECTORS, (pictures[numbers // 5], texts[numbers]))
        retrieval.add(batch)
    found = retrieval.recalls(Parallel())
    for depth in (1, 5, 10):
        by_image = by_text = 0
        for picture in range(20):
            order = sorted(range(100), key=lambda text: -float(pictures[picture] @ texts[text]))
            by_image += any(text // 5 == picture for text in order[:depth])
        for text in range(100):
            order = sorted(range(20), key=lambda picture: -float(pictures[picture] @ texts[text]))
            by_text += text // 5 in order[:depth]
        assert found[f"image_to_text_recall_at_{depth}"] == pytest.approx(by_image / 20)
        assert found[f"text_to_image_recall_at_{depth}"] == pytest.approx(by_text / 100)
        # Of one picture among 20 a random ranking has so many in its first ones, on average.
        times = found[f"text_to_image_times_chance_at_{depth}"]
        assert times == pytest.approx(by_text / 100 / (depth / 20))


def test_chance_is_the_share_of_orders_that_begin_well():
    for right, offered, depth in ((1, 5, 2), (2, 5, 1), (2, 6, 3), (5, 6, 3), (3, 4, 10)):
        orders = list(permutations(range(offered)))
        good = sum(min(order[:depth]) < right for order in orders)
        assert chance(right, offered, depth) == pytest.approx(good / len(orders))


def test_what_nobody_compared_has_no_recall():
    retrieval = Retrieval()
    nothing = Images(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), (1,), ())
    retrieval.add(matches(nothing, [[1]]))
    assert retrieval.recalls(Parallel()) == {}
