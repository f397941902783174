"""The optimizer against AdamW's formula worked out by hand, and its groups."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from isthmus.core.contracts import ParameterGroup
from isthmus.core.train.config import OptimizerConfig
from isthmus.core.train.optimizer import build_optimizer, learning_parameters, set_lr


def group(module: nn.Module, **fields: object) -> ParameterGroup:
    return ParameterGroup(name="part", parameters=dict(module.named_parameters()), **fields)


def test_decay_touches_matrices_alone():
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    optimizer = build_optimizer([group(module)], OptimizerConfig(weight_decay=0.1))
    decays = {
        id(p): each["weight_decay"] for each in optimizer.param_groups for p in each["params"]
    }
    found = {name: decays[id(p)] for name, p in module.named_parameters()}
    assert found == {"0.weight": 0.1, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0}


def test_each_group_keeps_its_own_rate_under_the_schedule():
    slow, fast = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = [group(slow, lr=2e-5), group(fast)]
    optimizer = build_optimizer(groups, OptimizerConfig(lr=1e-3))
    assert set_lr(optimizer, 0.5) == pytest.approx(5e-4)
    rates = {id(p): each["lr"] for each in optimizer.param_groups for p in each["params"]}
    assert rates[id(slow.weight)] == pytest.approx(1e-5)
    assert rates[id(fast.bias)] == pytest.approx(5e-4)


def test_first_step_is_adamw_by_hand():
    module = nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(2.0)
        module.bias.fill_(2.0)
    config = OptimizerConfig(lr=0.1, weight_decay=0.5, eps=1e-8)
    optimizer = build_optimizer([group(module)], config)
    module.weight.grad = torch.full((1, 1), 0.3)
    module.bias.grad = torch.full((1,), -0.3)
    optimizer.step()
    # The first step of Adam is lr times the gradient's sign; the weight decays by lr * 0.5 first.
    assert module.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1)
    assert module.bias.item() == pytest.approx(2.0 + 0.1)


def test_learning_parameters_are_all_of_them():
    module = nn.Linear(2, 2)
    optimizer = build_optimizer([group(module)], OptimizerConfig())
    assert {id(p) for p in learning_parameters(optimizer)} == {id(p) for p in module.parameters()}


def test_decay_of_an_average_stays_below_one():
    with pytest.raises(ValidationError, match="less than 1"):
        OptimizerConfig(betas=(0.9, 1.0))
