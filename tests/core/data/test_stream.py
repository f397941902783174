"""Streams: window after window, each planned like a data set, and gone on with at any step."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator

import pytest

from isthmus.core.contracts import Sample, Source
from isthmus.core.data.loader import StepLoader
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.packed import PackedPlan
from isthmus.core.data.plan import Plan
from isthmus.core.data.sizes import joined, measure
from isthmus.core.data.stream import Held, Place, StreamLoader
from isthmus.errors import DataError
from tests.core.data.toys import IdPreparer, sample


class Endless(Source, name="toy_stream"):
    """`count` samples, known to nobody; says how many were read."""

    def __init__(self, config: Source.Config, count: int) -> None:
        self.config = config
        self.count = count
        self.given = 0

    def __len__(self) -> int:
        raise AssertionError("a stream was asked for its length")

    def __getitem__(self, index: int) -> Sample:
        raise AssertionError("a stream was asked for a number")

    @property
    def streams(self) -> bool:
        return True

    def stream(self, skip: int = 0) -> Iterator[Sample]:
        for index in range(skip, self.count):
            self.given += 1
            yield sample(str(index), "x" * (index % 5 + 1))

    @property
    def fingerprint(self) -> str:
        return str(self.count)


def loader(count: int, *, rank: int = 0, world: int = 1, packed: bool = True, **fields):
    source = Endless.Config().build(count=count)

    def load(window: Mixture, place: Place, first: int) -> StepLoader:
        seed = place.reading * 1000 + place.samples
        if packed:
            lengths = joined([measure(window, IdPreparer())]).tokens
            plan = PackedPlan(window, lengths, capacity=9, packs=2, epochs=1, seed=seed)
        else:
            plan = Plan(window, samples=4, epochs=1, seed=seed)
        return StepLoader(plan, window, IdPreparer(), rank=rank, world=world, first_step=first)

    return StreamLoader(source, load, **{"steps": 10, "window": 20} | fields)


def ids(data) -> list[list[str]]:
    return [list(batch.samples) for batch in data.batches]


@pytest.mark.parametrize("packed", [True, False])
def test_each_reading_uses_each_sample_once_window_after_window(packed):
    made = loader(50, packed=packed, steps=1000)
    seen: list[str] = []
    steps = iter(made)
    while len(seen) < 100:
        seen += [id for batch in ids(next(steps)) for id in batch]
    for reading in (seen[:50], seen[50:]):
        assert sorted(map(int, reading)) == list(range(50))
        assert sorted(map(int, reading[:20])) == list(range(20))
    assert seen[:50] != seen[50:]
    steps.close()


def test_a_stream_is_read_no_further_than_its_steps_need():
    made = loader(10**9)
    assert [data.step for data in made] == list(range(10))
    assert made.source.given <= 80


@pytest.mark.parametrize("world", [2, 3, 5])
def test_processes_share_the_samples_of_one(world):
    alone = [Counter(id for batch in ids(data) for id in batch) for data in loader(50)]
    shares = [list(loader(50, rank=rank, world=world)) for rank in range(world)]
    for step, whole in enumerate(alone):
        parts = [id for share in shares for batch in ids(share[step]) for id in batch]
        assert Counter(parts) == whole


@pytest.mark.parametrize("packed", [True, False])
def test_going_on_from_any_step_gives_the_same_steps(packed):
    whole = [(data.step, ids(data)) for data in loader(50, packed=packed, steps=30)]
    made = loader(50, packed=packed, steps=30)
    places = []
    for data in made:
        places.append((data.step, made.position))
    assert [step for step, _ in whole] == list(range(30))
    for step, position in places:
        again = loader(
            50, packed=packed, steps=30, first_step=step + 1, place=Place(**position["place"])
        )
        assert [(data.step, ids(data)) for data in again] == whole[step + 1 :]
        # Only what is left is read: nothing before the window that was under way.
        assert position["place"]["samples"] <= 50


def test_a_window_goes_to_data_workers():
    held = pickle.loads(pickle.dumps(Mixture([Held([sample("a"), sample("b")])], [1.0])))
    assert [held[number].id for number in range(2)] == ["a", "b"]


def test_a_stream_without_samples_says_so():
    with pytest.raises(DataError, match="no sample"):
        list(loader(0))
