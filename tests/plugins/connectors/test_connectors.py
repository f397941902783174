"""The connectors that project, beside their formulas written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from isthmus.core.contracts import Features, Grid
from isthmus.errors import PartError
from isthmus.plugins.connectors.identity import Identity
from isthmus.plugins.connectors.linear import Linear
from isthmus.plugins.connectors.mlp import Mlp

FEATURES = Features(torch.randn(7, 24), ((Grid(1, 3),), (Grid(2, 2),)))


def test_identity_says_which_widths_differ() -> None:
    with pytest.raises(PartError, match="24 wide and the LLM's embeddings 32"):
        Identity.Config().build(dim_in=24, dim_out=32)


def test_identity_gives_features_on() -> None:
    assert Identity.Config().build(dim_in=24, dim_out=24)(FEATURES) is FEATURES.values


def test_linear_is_the_projection_w() -> None:
    part = Linear.Config().build(dim_in=24, dim_out=32)
    weight, bias = part.state_dict().values()
    assert torch.allclose(part(FEATURES), FEATURES.values @ weight.T + bias, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_mlp_has_gelu_between_its_layers(depth: int) -> None:
    part = Mlp.Config(depth=depth).build(dim_in=24, dim_out=32)
    weights = list(part.state_dict().values())
    value = FEATURES.values @ weights[0].T + weights[1]
    for index in range(1, depth):
        value = functional.gelu(value) @ weights[2 * index].T + weights[2 * index + 1]
    assert len(weights) == 2 * depth
    assert torch.allclose(part(FEATURES), value, atol=1e-6)


def test_no_layer_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Mlp.Config(depth=0)
