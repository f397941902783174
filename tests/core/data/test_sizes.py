"""Sizes: measured chunk by chunk, by as many processes as there are, and the same for all."""

from __future__ import annotations

import pytest

from isthmus.core.data.mixture import Mixture
from isthmus.core.data.sizes import CHUNK, Cost, Sizes, joined, measure
from isthmus.errors import ImageError
from tests.core.data.toys import IdPreparer, ListSource, numbered, photo, sample

COUNT = 3 * CHUNK + 5
MIXTURE = Mixture([numbered(COUNT)])


@pytest.mark.parametrize("world", [1, 2, 3, 4, 6])
def test_every_world_measures_each_sample_once_and_joins_the_same(world):
    shares = [measure(MIXTURE, IdPreparer(), rank=rank, world=world) for rank in range(world)]
    assert sum(len(chunk) for share in shares for chunk in share) == COUNT
    assert joined(shares) == Sizes([i % 5 + 1 for i in range(COUNT)], [0] * COUNT)


def test_images_are_counted_and_a_bad_one_leaves_its_sample_no_size():
    samples = [sample("0", images=[photo()] * 3), sample("1", "xx"), sample("2", images=[photo()])]
    mixture = Mixture([ListSource.Config().build(samples=samples)])
    assert joined([measure(mixture, IdPreparer())]) == Sizes([6, 2, 6], [3, 0, 1])
    bad = IdPreparer(bad=["2"])
    with pytest.raises(ImageError, match="record 2: no picture"):
        measure(mixture, bad)
    assert joined([measure(mixture, bad, on_bad_image="skip")]) == Sizes([6, 2, 0], [3, 0, 0])


def test_cost_is_tokens_attention_and_images():
    cost = Cost(square=0.5, image=3.0)
    assert cost.of(Sizes([4, 0, 10], [1, 0, 2])) == [4 + 8 + 3, 0, 10 + 50 + 6]


@pytest.mark.slow
def test_workers_measure_the_same():
    assert measure(MIXTURE, IdPreparer(), workers=1) == measure(MIXTURE, IdPreparer())
