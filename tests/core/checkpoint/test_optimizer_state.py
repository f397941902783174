"""AdamW's state goes to named tensors and back, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from isthmus.core.checkpoint.optimizer import flatten_optimizer, restore_optimizer
from isthmus.core.checkpoint.weights import read_weights, write_weights
from isthmus.errors import CheckpointError


def make(fused: bool) -> tuple[nn.Module, torch.optim.AdamW]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    weights = [p for p in module.parameters() if p.ndim == 2]
    biases = [p for p in module.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}]
    return module, torch.optim.AdamW(groups, lr=1e-2, fused=fused)


def learn(module: nn.Module, optimizer: torch.optim.AdamW, first: int, last: int) -> None:
    for step in range(first, last):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))
        module(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("fused", [False, True])
def test_stopping_and_going_on_gives_the_same_bytes(fused: bool, tmp_path: Path) -> None:
    straight, optimizer = make(fused)
    learn(straight, optimizer, 0, 7)

    halted, optimizer = make(fused)
    learn(halted, optimizer, 0, 4)
    file = tmp_path / "optimizer.safetensors"
    write_weights(file, flatten_optimizer(optimizer, dict(halted.named_parameters())))

    resumed, optimizer = make(fused)
    resumed.load_state_dict(halted.state_dict())
    names = dict(reversed(list(resumed.named_parameters())))
    restore_optimizer(optimizer, names, read_weights(file, {}))
    learn(resumed, optimizer, 4, 7)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_state_of_a_parameter_that_does_not_learn_is_refused() -> None:
    module, optimizer = make(False)
    learn(module, optimizer, 0, 1)
    names = dict(module.named_parameters())
    tensors = flatten_optimizer(optimizer, names)
    del names["1.bias"]
    with pytest.raises(CheckpointError, match=r"1\.bias"):
        restore_optimizer(optimizer, names, tensors)
