"""One optimizer step on tiny fakes: splits, refusals, and what they leave untouched."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn

from isthmus.core.contracts import Loss, Objective, ParameterGroup, Preparer, Tools
from isthmus.core.train.config import OptimizerConfig
from isthmus.core.train.engine import Engine, Root
from isthmus.core.train.optimizer import build_optimizer
from isthmus.core.train.parallel import Parallel
from isthmus.errors import InputError, NonFiniteLoss


@dataclass(frozen=True)
class Rows:
    """A micro-batch of plain vectors; each row is a sample, and counts `weights` tokens."""

    values: Tensor
    weights: Tensor
    samples: tuple[str, ...]

    @property
    def weight(self) -> float:
        return float(self.weights.sum())

    num_tokens = 3
    num_images = 1

    def to(self, device: torch.device) -> Self:
        return self

    def pick(self, *rows: int) -> Rows:
        index = list(rows)
        return Rows(self.values[index], self.weights[index], tuple(f"s{i}" for i in rows))


class Squares(Objective, name="squares"):
    """Weighted squares of the model's output."""

    def preparer(self, tools: Tools) -> Preparer:
        raise NotImplementedError

    def forward(self, model: Any, batch: Any) -> Loss:
        each = model(batch.values).square().sum(1) * batch.weights
        return Loss(each.sum(), batch.weight, {"mass": batch.weights.sum()})


def rows(count: int = 6) -> Rows:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(count, 4, generator=generator)
    weights = torch.arange(1.0, count + 1)
    return Rows(values, weights, tuple(f"s{i}" for i in range(count)))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


def engine(module: nn.Module, **fields: Any) -> Engine:
    root = Root(module, Squares(Squares.Config()), bf16=False)
    group = ParameterGroup("part", dict(module.named_parameters()))
    settings: dict[str, Any] = {"name": "align", "clip": None, "seed": 0, "spare": rows}
    optimizer = build_optimizer([group], OptimizerConfig(lr=0.1))
    return Engine(root, optimizer, Parallel(), **(settings | fields))


def take(made: Engine, batches: Sequence[Rows], step: int = 0) -> Any:
    return made.step(step, batches, lambda: [])


@pytest.mark.parametrize(
    "split",
    [
        [(0, 1, 2, 3, 4, 5)],
        [(0,), (1,), (2,), (3,), (4,), (5,)],
        [(5, 0), (1, 2, 3), (4,)],
    ],
)
def test_any_split_of_a_step_moves_the_weights_alike(split: list[tuple[int, ...]]):
    module = model()
    twin = copy.deepcopy(module)
    data = rows()
    result = take(engine(module), [data.pick(*each) for each in split])

    # By hand: the weighted mean over everything at once, then torch's own AdamW.
    loss = (twin(data.values).square().sum(1) * data.weights).sum() / data.weights.sum()
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in twin.parameters()]).norm()
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.1, weight_decay=0.0)
    optimizer.step()

    assert result.loss == pytest.approx(loss.item(), rel=1e-6)
    assert result.grad_norm == pytest.approx(norm.item(), rel=1e-5)
    assert result.counts.weight == 21
    assert result.counts.samples == 6
    assert result.metrics == {"mass": 1.0}
    for mine, theirs in zip(module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_clip_bounds_the_gradient_but_reports_its_own_norm():
    seen: list[float] = []
    module = model()
    made = engine(module, clip=0.01)
    made.optimizer.register_step_pre_hook(
        lambda *_: seen.append(
            torch.stack([p.grad.norm() for p in module.parameters()]).norm().item()
        )
    )
    result = take(made, [rows()])
    assert result.grad_norm > 0.1
    assert seen == [pytest.approx(0.01, rel=1e-3)]


def test_nan_loss_stops_before_the_weights_and_names_the_samples():
    module = model()
    before = copy.deepcopy(module.state_dict())
    data = rows()
    data.values[3, 0] = torch.nan
    batches = [data.pick(0, 1), data.pick(2, 3), data.pick(4, 5)]
    with pytest.raises(
        NonFiniteLoss, match=r"align, step 8: the loss.*Samples: s2, s3\."
    ) as caught:
        take(engine(module), batches, step=7)
    assert caught.value.exit_code == 1
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


def test_infinite_gradient_stops_too():
    module = model()
    before = copy.deepcopy(module.state_dict())
    module[0].weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(NonFiniteLoss, match=r"the gradient .*Samples: s0, s1\."):
        take(engine(module), [rows().pick(0, 1)])
    assert all(torch.equal(v, before[n]) for n, v in module.state_dict().items())


def test_step_without_anything_supervised_moves_nothing():
    module = model()
    before = copy.deepcopy(module.state_dict())
    assert take(engine(module), []).loss is None
    empty = Rows(torch.ones(1, 4), torch.zeros(1), ("s",))
    assert take(engine(module), [empty]).loss is None
    assert all(torch.equal(v, before[n]) for n, v in module.state_dict().items())


def test_objective_that_cannot_accumulate_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Squares, "accumulates", False)
    made = engine(model())
    take(made, [rows()])
    with pytest.raises(InputError, match=r"cannot accumulate.*2 micro-batches"):
        take(made, [rows().pick(0), rows().pick(1)])


def test_dropout_draws_depend_on_the_step_alone():
    def losses(steps: Sequence[int]) -> list[float]:
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5))
        made = engine(module)
        for group in made.optimizer.param_groups:
            group["lr"] = 0.0
        torch.rand(len(steps))  # what others draw in between does not matter
        return [take(made, [rows().pick(0), rows().pick(1)], step).loss for step in steps]

    first, second, again = losses([4, 5, 4])
    assert first == again != second
    assert losses([5]) == [pytest.approx(second, abs=0)]


def test_bf16_runs_the_model_in_bf16_and_sums_in_fp32():
    seen: list[torch.dtype] = []
    module = model()
    module[0].register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    root = Root(module, Squares(Squares.Config()), bf16=True)
    total, _ = root(rows())
    assert seen == [torch.bfloat16]
    assert total.dtype == torch.float32
