"""A frozen weight that changes by one bit is caught and named."""

import pytest
import torch
from torch import nn

from isthmus.core.train.freeze import FrozenWeights
from isthmus.errors import FreezeError


def parts() -> dict[str, nn.Module]:
    encoder = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).requires_grad_(False)
    return {"encoder": encoder, "connector": nn.Linear(2, 2)}


def test_training_what_learns_passes():
    model = parts()
    before = model["connector"].weight.clone()
    frozen = FrozenWeights(model)
    with torch.no_grad():
        model["connector"].weight.add_(1)
    frozen.check(model)
    assert not torch.equal(model["connector"].weight, before)


def test_one_changed_bit_is_named():
    model = parts()
    frozen = FrozenWeights(model)
    weight = model["encoder"][0].weight.data.view(torch.int32)
    weight[1, 0] ^= 1
    with pytest.raises(FreezeError, match=r"1 of .* 'encoder\.0\.weight'"):
        frozen.check(model)


def test_statistics_of_a_frozen_part_count_too():
    model = parts()
    frozen = FrozenWeights(model)
    model["encoder"].train()(torch.randn(4, 2))
    with pytest.raises(FreezeError, match="running_mean"):
        frozen.check(model)


def test_bf16_weights_are_hashed_as_they_are():
    model = {"llm": nn.Linear(2, 2).requires_grad_(False).to(torch.bfloat16)}
    frozen = FrozenWeights(model)
    frozen.check(model)
    model["llm"].bias.data += 1
    with pytest.raises(FreezeError, match=r"llm\.bias"):
        frozen.check(model)
