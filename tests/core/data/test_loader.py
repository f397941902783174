"""Loading: exact order, exact resume, nothing skipped in silence."""

from __future__ import annotations

import pickle

import pytest
import torch

from isthmus.core.data.loader import StepLoader
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.packed import PackedPlan
from isthmus.core.data.plan import Plan
from isthmus.core.data.sizes import joined, measure
from isthmus.core.data.workers import in_order
from isthmus.errors import DataError, ImageError, WorkError
from isthmus.plugins.objectives.lm import LanguageModelling
from isthmus.plugins.sources.llava import Llava
from tests.core.data.toys import IdPreparer, numbered, tools

MIXTURE = Mixture([numbered(40)])


def loader(preparer=None, **fields) -> StepLoader:
    plan = fields.pop("plan", Plan(MIXTURE, samples=7, epochs=2, seed=1))
    return StepLoader(plan, MIXTURE, preparer or IdPreparer(), **fields)


def ids(steps) -> list[tuple[int, list[tuple[str, ...]]]]:
    return [(data.step, [batch.samples for batch in data.batches]) for data in steps]


def test_steps_hold_the_plans_samples():
    plan = Plan(MIXTURE, samples=7, epochs=2, seed=1)
    for step, batches in ids(loader()):
        (batch,) = batches
        assert [int(id) for id in batch] == plan.numbers(step)


def test_a_step_is_the_same_wherever_iteration_begins():
    whole = ids(loader(micro_samples=3))
    for first in (0, 1, 5, 11):
        assert ids(loader(micro_samples=3, first_step=first)) == whole[first:]


def test_processes_share_a_step_and_one_may_get_nothing():
    plan = Plan(MIXTURE, samples=3, epochs=1)
    parts = [ids(loader(plan=plan, rank=rank, world=4)) for rank in range(4)]
    for step in range(plan.steps):
        seen = [int(id) for part in parts for batch in part[step][1] for id in batch]
        assert sorted(seen) == sorted(plan.numbers(step))
    assert parts[3][0] == (0, [])


def test_micro_batches_hold_their_tokens():
    for data in loader(micro_tokens=9, micro_samples=4):
        assert all(b.num_tokens <= 9 and len(b.samples) <= 4 for b in data.batches)


def test_bad_picture_fails_or_is_skipped_and_told():
    with pytest.raises(ImageError, match="record 7: no picture"):
        list(loader(IdPreparer(bad=["7"])))
    steps = list(loader(IdPreparer(bad=["7"]), on_bad_image="skip", max_skipped=0.1))
    skipped = [item for data in steps for item in data.skipped]
    assert [(item.id, item.origin) for item in skipped] == [("7", "toy.json, record 7")] * 2
    assert skipped[0].reason == "toy.json, record 7: no picture"
    seen = [id for data in steps for batch in data.batches for id in batch.samples]
    assert len(seen) == 78
    assert "7" not in seen


def test_sample_without_anything_to_learn_is_skipped_whatever_the_policy():
    steps = list(loader(IdPreparer(empty=["3"]), max_skipped=0.1))
    assert [item.reason for data in steps for item in data.skipped] == [
        "toy.json, record 3: nothing to learn"
    ] * 2


def test_too_many_skipped_end_the_run():
    bad = IdPreparer(bad=["1", "2", "3"])
    # 6 of 80 are bad: over 5 %, under 8 %.
    assert list(loader(bad, on_bad_image="skip", max_skipped=0.08))
    with pytest.raises(DataError, match=r"5 samples were left out.*0\.05.*record \d: no picture"):
        list(loader(bad, on_bad_image="skip", max_skipped=0.05))
    with pytest.raises(DataError, match="left out"):
        list(loader(bad, on_bad_image="skip", max_skipped=0.08, skipped=1, first_step=0))
    with pytest.raises(DataError, match="left out"):
        list(loader(IdPreparer(empty=["1"]), max_skipped=0.0))


def test_step_whose_samples_are_all_bad_is_empty():
    bad = IdPreparer(bad=[str(i) for i in range(40)])
    data = next(iter(loader(bad, on_bad_image="skip", max_skipped=1.0)))
    assert data.batches == []
    assert len(data.skipped) == 7


def test_packs_are_micro_batches_even_where_samples_of_them_are_bad():
    lengths = [i % 5 + 1 for i in range(40)]
    plan = PackedPlan(MIXTURE, lengths, capacity=9, packs=3, epochs=1)
    bad = [str(number) for number in plan.numbers(1)[:1]]
    steps = list(
        loader(IdPreparer(bad=bad), plan=plan, micro_tokens=9, on_bad_image="skip", max_skipped=0.1)
    )
    assert [data.step for data in steps] == list(range(plan.steps))
    for data in steps:
        wanted = [
            [str(n) for n in pack if str(n) not in bad] for pack in plan.share(data.step, 0, 1)
        ]
        assert [list(batch.samples) for batch in data.batches] == [pack for pack in wanted if pack]
        assert all(batch.num_tokens <= 9 for batch in data.batches)


def test_loading_leaves_the_runs_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3).tolist()
    torch.manual_seed(0)
    list(loader())
    assert torch.rand(3).tolist() == expected


def test_loader_is_small_to_send():
    assert len(pickle.dumps(loader())) < 20_000


@pytest.mark.slow
def test_workers_give_the_same_steps_in_the_same_order():
    here = list(loader(micro_samples=4))
    torch.manual_seed(0)
    there = list(loader(micro_samples=4, workers=2))
    assert torch.initial_seed() == 0
    assert ids(there) == ids(here)
    workers = {batch.worker for data in there for batch in data.batches}
    assert len(workers) == 2
    assert not workers & {batch.worker for data in here for batch in data.batches}
    # An error comes back as itself, in its turn, and leaving early ends the workers.
    with pytest.raises(ImageError, match=r"^toy\.json, record 7: no picture$"):
        list(loader(IdPreparer(bad=["7"]), workers=1))
    steps = iter(loader(workers=1))
    assert next(steps).step == 0
    steps.close()


@pytest.mark.slow
def test_killed_worker_is_a_clear_error():
    with pytest.raises(WorkError, match="a data worker was killed"):
        list(loader(IdPreparer(fatal="5"), workers=1))


def test_other_errors_are_not_disguised():
    def job(number: int) -> int:
        return 1 // number

    with pytest.raises(ZeroDivisionError):
        list(in_order(job, range(1)))


def test_real_photos_become_packs(data_folder):
    folder = data_folder / "llava_pretrain_2k"
    file = folder / "blip_laion_cc_sbu_2k.json"
    source = Llava.Config(file=file, images=folder / "images", limit=24).build()
    mixture = Mixture([source])
    preparer = LanguageModelling.Config().build().preparer(tools())
    lengths = joined([measure(mixture, preparer)]).tokens
    plan = Plan(mixture, tokens=400, epochs=1, lengths=lengths)
    seen = []
    for data in StepLoader(plan, mixture, preparer, micro_tokens=200):
        for pack in data.batches:
            assert pack.num_images == len(pack.samples)
            assert pack.num_tokens <= max(200, *lengths)
            numbers = [n for n in range(24) if source[n].id in pack.samples]
            assert pack.num_tokens == sum(lengths[n] for n in numbers)
            seen += pack.samples
    assert sorted(seen) == sorted(source[n].id for n in range(24))
