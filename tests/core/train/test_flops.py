"""The FLOP model beside torch's counter of what a step really executes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from isthmus.core.train.operations import flop_model
from isthmus.core.train.peaks import peak_of
from isthmus.core.train.recompute import Level
from isthmus.core.train.run import run
from isthmus.core.train.tuning import apply_tuners
from isthmus.plugins.tuners.full import Full
from tests.core.train.counting import (
    CLIP,
    GPT2,
    LENGTHS,
    LLAMA,
    STAGES,
    batch,
    executed,
    executed_again,
    model,
)
from tests.core.train.tiny import stage, tiny_run, write_data

VIT = {
    "type": "timm",
    "model": "vit_tiny_patch16_224",
    "weights": None,
    "image_size": 32,
    "options": {"depth": 2, "embed_dim": 24, "num_heads": 2, "patch_size": 8},
    "layer": -1,
}


@pytest.mark.parametrize("trained", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize(
    ("llm", "encoder"),
    [
        (LLAMA, {"type": "clip", "config": CLIP}),
        (GPT2, VIT),
    ],
    ids=["clip and llama", "timm and gpt2"],
)
def test_model_flops_are_what_the_counter_sees(
    llm: dict[str, Any], encoder: dict[str, Any], trained: dict[str, Any]
):
    made = model(llm, encoder)
    apply_tuners(made.parts(), trained)
    flops = flop_model(made, bf16=False)
    pack = batch(made)
    assert flops.step([pack], causal=False) == pytest.approx(executed(made, pack), rel=0.01)


@pytest.mark.parametrize("level", ["none", "selective", "full"])
@pytest.mark.parametrize("trained", ["connector", "lora and connector", "everything"])
def test_layers_computed_twice_are_counted_apart(trained: str, level: Level):
    made = model(LLAMA, {"type": "clip", "config": CLIP})
    apply_tuners(made.parts(), STAGES[trained])
    flops = flop_model(made, bf16=False)
    pack = batch(made)
    found, layers = executed_again(made, pack, level)
    repeated = flops.repeated([pack], layers.again)
    assert (repeated > 0) == (level != "none")
    # The counter sees attention as the whole square, in both runs.
    squares = sum(length**2 for length in LENGTHS) / 2
    halves = sum(flops.layers[index].pair * squares for index in layers.again(3))
    assert flops.step([pack], causal=False) + repeated + halves == pytest.approx(found, rel=0.01)


def test_prefixes_look_at_more_than_is_before_them():
    made = model(LLAMA, {"type": "clip", "config": CLIP}, attention="prefix")
    apply_tuners(made.parts(), STAGES["connector and llm"])
    pack = batch(made)
    prefixes = (40, 37, 0)
    seeing = replace(pack, segments=replace(pack.segments, prefixes=prefixes))
    flops = flop_model(made, bf16=False)
    more = flops.step([seeing]) - flops.step([pack])
    pairs = sum(prefix * prefix / 2 for prefix in prefixes)
    assert more == pytest.approx(sum(3 * layer.pair * pairs for layer in flops.layers))
    causal = flop_model(model(LLAMA, {"type": "clip", "config": CLIP}), bf16=False)
    assert not causal.ahead


def test_step_without_pictures_counts_no_encoder():
    """The blank picture that such a step sends through is executed, but is no work."""
    made = model(LLAMA, {"type": "clip", "config": CLIP})
    apply_tuners(made.parts(), {"llm": Full.Config()})
    pack = batch(made, pictures=0)
    counted = flop_model(made, bf16=False).step([pack], causal=False)
    assert counted == pytest.approx(executed(made, pack), rel=0.01)


@pytest.mark.parametrize("trained", ["connector and llm", "everything"])
def test_image_that_occurs_twice_is_looked_at_once_by_a_frozen_encoder(trained: str):
    made = model(LLAMA, {"type": "clip", "config": CLIP})
    apply_tuners(made.parts(), STAGES[trained])
    pack = batch(made)
    same = replace(pack.images, pixels=pack.images.pixels[:1].repeat(2, 1, 1, 1), keys=("a", "a"))
    pack = replace(pack, images=same)
    counted = flop_model(made, bf16=False).step([pack], causal=False)
    assert counted == pytest.approx(executed(made, pack), rel=0.01)


def test_features_that_are_known_cost_nothing():
    made = model(LLAMA, {"type": "clip", "config": CLIP})
    apply_tuners(made.parts(), STAGES["connector"])
    pack = batch(made)
    looked = replace(pack.images, keys=("a", "b"))
    known = replace(
        looked,
        pixels=looked.pixels[:0],
        crops=(0, 0),
        known=made.encode(pack.images).values,
    )
    pack = replace(pack, images=known)
    counted = flop_model(made, bf16=False).step([pack], causal=False)
    assert counted == pytest.approx(executed(made, pack), rel=0.01)


def test_stage_1_by_hand():
    """Four operations for each weight of the frozen LLM and token, two for the encoder's, half
    a square of attention; of the last layer only keys and values are for every token."""
    made = model(LLAMA | {"head_dim": 8}, {"type": "clip", "config": CLIP})
    apply_tuners(made.parts(), STAGES["connector"])
    keys_and_values, others = 32 * 16 * 2, 32 * 32 * 2 + 3 * 32 * 64
    tokens = 4 * (3 * keys_and_values + 2 * others) * sum(LENGTHS)
    needed = 4 * others * 20
    squares = sum(length**2 for length in LENGTHS)
    attention = 3 * (3 * 4 * 32 * squares / 2)
    head = 4 * 32 * made.llm.model.lm_head.out_features * 20
    # The first of the connector's two matrices has an input without gradient.
    connector = (4 * 24 * 32 + 6 * 32 * 32) * 32
    # Two of three layers; 17 rows a picture, of which the class token is not embedded.
    patches = 2 * 3 * 8 * 8 * 24 * 16
    block = 2 * (4 * 24 * 24 + 2 * 24 * 48) * 17 + 4 * 24 * 17**2
    encoder = 2 * (patches + 2 * block)
    flops = flop_model(made, bf16=False)
    assert flops.step([batch(made)]) == pytest.approx(
        tokens + needed + attention + head + connector + encoder
    )


def test_layer_that_looks_back_a_window_counts_the_pairs_inside_it():
    mistral = LLAMA | {"model_type": "mistral", "head_dim": 8, "sliding_window": 10}
    narrow = flop_model(model(mistral, {"type": "clip", "config": CLIP}), bf16=False)
    wide = flop_model(
        model(mistral | {"sliding_window": None}, {"type": "clip", "config": CLIP}), bf16=False
    )
    made = model(mistral, {"type": "clip", "config": CLIP})
    pack = batch(made, pictures=0)
    spared = sum(length**2 / 2 - (10 * length - 50) for length in LENGTHS)
    factor = 3 * 3 * 4 * 32  # layers, forward and backward, two products, width
    assert wide.step([pack]) - narrow.step([pack]) == pytest.approx(factor * spared)


def test_counting_leaves_no_trace():
    made = model(LLAMA, {"type": "clip", "config": CLIP})
    apply_tuners(made.parts(), STAGES["connector and llm"])
    made.train()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    modes = [module.training for module in made.modules()]
    hooks = [dict(module._forward_hooks) for module in made.modules()]
    flop_model(made, bf16=False)
    assert [module.training for module in made.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in made.state_dict().items())
    assert all(parameter.grad is None for parameter in made.parameters())
    assert [dict(module._forward_hooks) for module in made.modules()] == hooks


def test_experts_that_a_token_does_not_meet_give_no_figure():
    made = model(LLAMA, {"type": "clip", "config": CLIP})
    made.llm.model.model.layers[0].mlp.experts = nn.Parameter(torch.zeros(4, 8, 8))
    assert flop_model(made, bf16=False) is None


def test_metrics_say_the_flops_of_every_step(tmp_path: Path):
    write_data(tmp_path, count=8)
    run(tiny_run(tmp_path, stage(tmp_path, steps=2)))
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert all(line["flops"] > 1e6 for line in lines if "loss" in line)
    assert not any("mfu" in line for line in lines)  # no known peak on a CPU


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("NVIDIA A10G", None),
        ("Tesla T4", None),
    ],
)
def test_peak_is_found_by_name_or_absent(name: str, teraflops: float | None):
    assert peak_of(name) == (teraflops and teraflops * 1e12)
