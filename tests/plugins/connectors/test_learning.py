"""Drawn as they are, connectors that gather learn within moments what lies where."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from isthmus.core.config import validate_part
from isthmus.core.contracts import Features, Grid

SIDE, KINDS, IMAGES, STEPS = 4, 10, 32, 120
HEADS = {"queries": SIDE**2, "heads": 4}


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "pool", "side": SIDE},
        {"type": "c_abstractor", "side": SIDE, "dim": 64, "blocks": 1},
        {"type": "cross_attention", "head_dim": 16, **HEADS},
        {"type": "resampler", "layers": 2, "head_dim": 16, **HEADS},
        {"type": "qformer", "dim": 64, "layers": 2, "hidden": 128, **HEADS},
    ],
    ids=lambda fields: fields["type"],
)
def test_each_visual_token_learns_to_tell_one_patch(fields: dict[str, Any]) -> None:
    """Patches are one of ten kinds, each with a vector for its place; from the i-th visual token
    the kind of the i-th patch is to be read. Guessing is right once in ten."""
    torch.manual_seed(0)
    part = validate_part("connector", fields).build(dim_in=64, dim_out=64)
    kinds, places = torch.randn(KINDS, 64), torch.randn(SIDE**2, 64)
    head = nn.Linear(64, KINDS)
    optimizer = torch.optim.AdamW([*part.parameters(), *head.parameters()], lr=2e-3)
    right = 0.0
    for _ in range(STEPS):
        wanted = torch.randint(KINDS, (IMAGES, SIDE**2))
        values = (kinds[wanted] + places).flatten(0, 1)
        found = head(part(Features(values, ((Grid(SIDE, SIDE),),) * IMAGES)))
        optimizer.zero_grad()
        cross_entropy(found, wanted.flatten()).backward()
        optimizer.step()
        right = float((found.argmax(dim=-1) == wanted.flatten()).float().mean())
    assert right > 0.95
