"""What blocks inside the LLM take that look at pictures, beside torch's counter and by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from isthmus.core.train.operations import flop_model
from isthmus.core.train.tuning import apply_tuners
from tests.core.train.counting import CLIP, LENGTHS, LLAMA, STAGES, batch, executed, model

BLOCKS = {"type": "gated_cross_attention", "every": 2, "heads": 3, "head_dim": 20}
RESAMPLER = {"type": "resampler", "queries": 5, "layers": 1, "heads": 2, "head_dim": 8}
LOOKS = {
    "at features": BLOCKS | {"every": 1},
    "at a resampler's": BLOCKS | {"states": RESAMPLER},
    "at all": BLOCKS | {"sees": "all", "states": RESAMPLER},
}


@pytest.mark.parametrize("trained", ["connector", "connector and llm", "lora", "everything"])
@pytest.mark.parametrize("connector", LOOKS.values(), ids=LOOKS)
def test_blocks_are_counted_by_token_state_and_pair(connector: dict[str, Any], trained: str):
    made = model(LLAMA, {"type": "clip", "config": CLIP}, connector)
    apply_tuners(made.parts(), STAGES[trained])
    pack = replace(batch(made), stands=torch.tensor([(0, 3), (1, 5)]))
    counted = flop_model(made, bf16=False).step([pack], causal=False)
    assert counted == pytest.approx(executed(made, pack), rel=0.01)


@pytest.mark.parametrize("sees", ["last", "all"])
def test_a_token_looks_at_its_own_images_alone(sees: str):
    """Two pictures in the first sample, one in the second: who looks at which, by hand."""
    connector = BLOCKS | {"sees": sees, "states": RESAMPLER}
    made = model(LLAMA, {"type": "clip", "config": CLIP}, connector)
    apply_tuners(made.parts(), STAGES["connector"])
    pack = replace(batch(made, pictures=3), stands=torch.tensor([(0, 0), (0, 10), (1, 7)]))
    flops = flop_model(made, bf16=False)
    first = 10 if sees == "last" else LENGTHS[0]
    looked = 5 * (first + (LENGTHS[0] - 10) + (LENGTHS[1] - 7))
    # Two of three layers have a block; scores and values, forward and twice backward.
    assert flops.looks.pair == 2 * 3 * 4 * 3 * 20
    assert flops.looks.state == 2 * 2 * (3 * 2 * 24 * 60)
    none = replace(flops, looks=replace(flops.looks, pair=0.0))
    assert flops.step([pack]) - none.step([pack]) == pytest.approx(flops.looks.pair * looked)


def test_a_pack_without_pictures_looks_at_nothing():
    made = model(LLAMA, {"type": "clip", "config": CLIP}, BLOCKS | {"states": RESAMPLER})
    apply_tuners(made.parts(), STAGES["connector"])
    pack = batch(made, pictures=0)
    flops = flop_model(made, bf16=False)
    assert flops.looks.step(pack, causal=True) == 0
    assert flops.step([pack]) > 0
