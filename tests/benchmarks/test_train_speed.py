"""The speed benchmark, on a model small enough for a test: what it proves, and what it counts."""

from __future__ import annotations

import pytest
import torch

from benchmarks.contenders import Models, contenders
from benchmarks.contest import Contender, Step, Task
from benchmarks.models import PRESETS
from benchmarks.overhead import measure
from benchmarks.samples import draw, flattened, padded, rows
from benchmarks.train_speed import FLOP_GOAL, difference, prove, table, verdicts
from isthmus.core.train.operations import flop_model
from isthmus.core.train.parallel import Parallel


@pytest.fixture(scope="module")
def parallel() -> Parallel:
    return Parallel(threads=1)


@pytest.fixture(scope="module")
def task() -> Task:
    preset = PRESETS["quick"]
    return Task(preset, draw(preset), stage=2, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def who(
    task: Task, parallel: Parallel, tmp_path_factory: pytest.TempPathFactory
) -> list[Contender]:
    """HF padded and isthmus' two: the whole table takes longer than a test may."""
    everyone = contenders(Models(task, tmp_path_factory.mktemp("kept")), parallel)
    return [everyone[0](), everyone[-2](), everyone[-1]()]


@pytest.fixture(scope="module")
def flops(who: list[Contender]) -> dict[str, int]:
    return prove(who)


def test_isthmus_executes_fewer_flops_than_padding_by_what_was_promised(flops: dict[str, int]):
    assert flops["HF Trainer, random padding"] / flops["isthmus"] >= FLOP_GOAL[0]


def test_isthmus_executes_no_padding(who: list[Contender], flops: dict[str, int]):
    places = {contender.name: contender.places for contender in who}
    tokens = who[0].task.tokens
    assert places["isthmus"] == tokens
    assert tokens / places["HF Trainer, random padding"] == pytest.approx(0.67, abs=0.03)


def test_executed_flops_of_isthmus_are_its_own_model_of_them(
    who: list[Contender], task: Task, flops: dict[str, int]
):
    isthmus = who[1]
    batches = isthmus.loader.load(0).batches
    counted = flop_model(isthmus.model, bf16=False).step(batches, causal=False)
    # Attention computes samples of like length together, and its backward pass scores again.
    assert counted == pytest.approx(flops["isthmus"], rel=0.05)


def test_table_and_verdicts_divide_the_right_way(who: list[Contender], flops: dict[str, int]):
    names = [contender.name for contender in who]
    seconds = dict.fromkeys((*flops, "HF Trainer, length-grouped"), 4.0) | {"isthmus": 2.0}
    head, first, ours, kept = table(who, flops, seconds)
    assert "GFLOP" in head
    assert [line[:30].strip() for line in (first, ours, kept)] == names
    tokens = who[0].task.tokens
    assert ours.split()[1:3] == [f"{tokens / 2:,.0f}", "2.00"]
    assert "2.00x (must 1.7, aim 2.0)" in verdicts(flops, seconds)[0]
    assert "1.00x (must 1.9, aim 2.2)" in verdicts(flops, seconds, stage=1)[0]


def test_features_that_are_kept_spare_the_encoder_and_change_nothing(flops: dict[str, int]):
    """`prove` has compared the gradients."""
    assert flops["isthmus, features kept"] < 0.97 * flops["isthmus"]


def test_nothing_is_timed_when_somebody_trains_something_else(task: Task):
    class Wrong(Contender):
        def __init__(self, name: str, loss: float, slope: float) -> None:
            super().__init__(task)
            self.name, self.loss, self.slope = name, loss, slope

        def step(self, gradient: bool = False) -> Step:
            return Step(self.loss, 1.0, [torch.tensor([self.slope, 1.0])])

    prove([Wrong("right", 2.0, 3.0), Wrong("as right", 2.0 + 1e-7, 3.0)])
    with pytest.raises(SystemExit, match="leaky trains something else"):
        prove([Wrong("right", 2.0, 3.0), Wrong("leaky", 2.0, 3.1)])
    with pytest.raises(SystemExit, match="off trains something else"):
        prove([Wrong("right", 2.0, 3.0), Wrong("off", 2.1, 3.0)])


def test_difference_of_gradients_by_hand():
    one = [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]
    other = [torch.tensor([3.0, 0.0]), torch.tensor([3.0])]
    assert difference(one, other) == pytest.approx(1 / 5)


def test_both_layouts_hold_the_same_tokens_and_labels(task: Task):
    batch = rows(task.drawn[:5])
    flat, square = flattened(batch), padded(batch)
    real = square["attention_mask"].bool()
    assert torch.equal(flat["input_ids"][0], square["input_ids"][real])
    assert torch.equal(flat["labels"][0], square["labels"][real])
    assert torch.equal(flat["pixel_values"], square["pixel_values"])
    starts = (flat["position_ids"][0] == 0).nonzero()[1:, 0].tolist()
    lengths = [len(each.ids) for each in task.drawn[:4]]
    assert starts == torch.tensor(lengths).cumsum(0).tolist()


def test_engine_and_loop_by_hand_are_timed_on_the_same_step(parallel: Parallel):
    engine, hand, more = measure(parallel, steps=5)
    assert engine > 0
    assert hand > 0
    assert abs(more) < engine + hand
