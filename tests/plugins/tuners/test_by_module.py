"""What a tuner for each module trains, and that it keeps a tuner's contract."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isthmus.core.config import validate_part
from isthmus.core.contracts import Images
from isthmus.errors import PartError
from isthmus.plugins.encoders.concat import Concat
from isthmus.plugins.tuners.by_module import ByModule
from isthmus.plugins.tuners.full import Full
from isthmus.plugins.tuners.lora import Lora
from isthmus.testing import check_tuner, tiny_encoder_config, tiny_pictures


def encoder() -> Concat:
    torch.manual_seed(0)
    return Concat.Config(encoders=(tiny_encoder_config(), tiny_encoder_config())).build().eval()


def run(part: Concat) -> torch.Tensor:
    return part(Images.of(tiny_pictures(), part.transform)).values


def learning(part: nn.Module) -> set[str]:
    return {name for name, p in part.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("second", [Full.Config(), Lora.Config(), Lora.Config(hand_over="keep")])
def test_it_conforms(second) -> None:
    check_tuner(ByModule.Config(modules={"encoders.1": second}), encoder(), run)


def test_each_module_learns_in_its_own_way_and_at_its_own_rate() -> None:
    part = encoder()
    values = {
        "type": "by_module",
        "lr": 1e-4,
        "modules": {
            "encoders.0": {"type": "lora", "r": 2},
            "encoders.1.blocks": {"type": "full", "lr": 1e-5},
        },
    }
    tuner = validate_part("tuner", values).build()
    tuner.apply(part)
    found = learning(part)
    assert {name for name in found if name.startswith("encoders.0")} == {
        name for name, _ in part.named_parameters() if "lora_" in name
    }
    blocks = "encoders.1.blocks."
    assert {name for name in found if not name.startswith("encoders.0")} == {
        name for name, _ in part.named_parameters() if name.startswith(blocks)
    }
    adapters, plain = tuner.groups(part)
    assert (adapters.name, adapters.lr) == ("encoders.0.lora", 1e-4)
    assert (plain.name, plain.lr) == ("encoders.1.blocks.full", 1e-5)
    assert {*adapters.parameters, *plain.parameters} == found


def test_a_layer_cannot_be_adapted_from_inside_itself() -> None:
    modules = {"encoders.0.blocks.layers.0.mlp.fc1": Lora.Config()}
    with pytest.raises(PartError, match="tuner lora: Linear has no linear layer to adapt"):
        ByModule.Config(modules=modules).build().apply(encoder())


def test_a_module_that_is_not_there_is_named_with_those_that_are() -> None:
    tuner = ByModule.Config(modules={"encoder.1": Full.Config()}).build()
    with pytest.raises(PartError, match=r"no module 'encoder.1'.*There are: encoders, encoders.0"):
        tuner.apply(encoder())
