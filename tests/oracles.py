"""Small models that ours are held against: their sizes, weights that all matter, and how near
two answers must be."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

TOWER = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
"""A tower of transformers, of vision or of text."""
VISION = TOWER | {"image_size": 32, "patch_size": 8}

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def shifted(model: Model, by: float) -> Model:
    """The same model with noise on every weight: those of norms and biases, too, are then unlike
    0 and 1, so that none can be forgotten unseen."""
    for weights in model.parameters():
        weights.add_(torch.randn_like(weights), alpha=by)
    return model


def relative(got: Tensor, wanted: Tensor) -> float:
    """The difference as a share of what is wanted, all numbers taken together."""
    return ((got - wanted).norm() / wanted.norm()).item()


def alike(got: Tensor, wanted: Tensor) -> bool:
    """Whether that share is less than 1e-5."""
    return got.shape == wanted.shape and relative(got, wanted) < 1e-5


def near(got: Tensor, wanted: Tensor) -> bool:
    """Whether every number is what is wanted to 1e-5."""
    return got.shape == wanted.shape and torch.allclose(got, wanted, rtol=1e-5, atol=1e-5)
