"""The FLOP model beside torch's counter of what a step really executes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from isthmus.core.config import load
from isthmus.core.contracts import ConnectorText, Images, Pack, Segments
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.layers import Layers
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.operations import flop_model
from isthmus.core.train.peaks import peak_of
from isthmus.core.train.recompute import Level, again
from isthmus.core.train.run import run
from isthmus.core.train.tuning import apply_tuners
from isthmus.plugins.objectives.lm import LanguageModelling
from isthmus.plugins.tuners.by_module import ByModule
from isthmus.plugins.tuners.full import Full
from isthmus.plugins.tuners.lora import Lora
from isthmus.testing import tiny_pictures, tiny_texts, tiny_tokenizer
from tests.core.train.tiny import stage, tiny_run, write_data

CLIP = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,  # heads together are wider than the model
}
GPT2 = {
    "model_type": "gpt2",
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}
VIT = {
    "type": "timm",
    "model": "vit_tiny_patch16_224",
    "weights": None,
    "image_size": 32,
    "options": {"depth": 2, "embed_dim": 24, "num_heads": 2, "patch_size": 8},
    "layer": -1,
}
CONVNET = {
    "type": "timm",
    "model": "resnet18",
    "weights": None,
    "image_size": 32,
    "layer": 3,
}
QFORMER = {"type": "qformer", "queries": 5, "dim": 24, "layers": 3, "heads": 4, "hidden": 40}
LENGTHS = (61, 37, 23)
"""So different that attention computes each by itself, with nothing repeated."""


CONNECTORS = {
    "pixel_shuffle": {"type": "pixel_shuffle", "factor": 3},
    "pool": {"type": "pool", "side": 3},
    "c_abstractor": {"type": "c_abstractor", "side": 3, "dim": 16},
    "cross_attention": {"type": "cross_attention", "queries": 5},
    "resampler": {"type": "resampler", "queries": 5, "layers": 2, "frames": 1},
    "qformer": QFORMER,
    "qformer that reads": QFORMER | {"text": "instruction", "tokenizer": {"vocab_size": 300}},
}
"""Those that gather; what `mlp` takes is counted by feature in all other tests."""


def model(
    llm: dict[str, Any],
    encoder: dict[str, Any],
    connector: str | dict[str, Any] = "mlp",
    **more: Any,
) -> VisionLanguageModel:
    causal = {"type": "causal", "config": llm, **more}
    values = {"encoder": encoder, "connector": connector, "llm": causal}
    config = load(ModelConfig, values)
    return build_model(config, tokenizer=tiny_tokenizer(), texts=tiny_texts)


def batch(made: VisionLanguageModel, pictures: int = 2) -> Pack:
    """Three samples, two of which have a picture, and 20 supervised tokens."""
    tokens = sum(LENGTHS)
    images = Images.of(tiny_pictures()[:pictures], made.encoder.transform) if pictures else None
    grids = images.grids if images else ()
    places = sum(made.connector.config.num_tokens(each) for each in grids)
    targets = torch.full((tokens,), Pack.IGNORE)
    targets[50:60] = targets[110:120] = 7
    return Pack(
        ids=torch.arange(tokens) % 200 + 5,
        targets=targets,
        segments=Segments(LENGTHS),
        visual=torch.arange(places),
        images=images,
        stands=torch.tensor([(0, 0)] * pictures).reshape(-1, 2),
        samples=("a", "b", "c"),
        weight=20.0,
    )


def executed(made: VisionLanguageModel, pack: Pack) -> int:
    """What torch counts, with attention written out: a fused kernel's backward pass computes
    its scores once more, which is no part of the model."""
    made.train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        LanguageModelling.Config().build()(made, pack).sum.backward()
    return counter.get_total_flops()


STAGES = {
    "connector": {"connector": Full.Config()},
    "connector and llm": {"connector": Full.Config(), "llm": Full.Config()},
    "lora": {"llm": Lora.Config(r=4)},
    "lora and connector": {"llm": Lora.Config(r=4), "connector": Full.Config()},
    "everything": {"encoder": Full.Config(), "connector": Full.Config(), "llm": Full.Config()},
    "encoder": {"encoder": Full.Config()},
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


INNER = {"type": "clip", "config": CLIP}
SCRATCH = {
    "type": "vit",
    "image_size": 32,
    "patch_size": 8,
    "dim": 24,
    "depth": 3,
    "heads": 4,
}
NESTED = {
    "tiles": {"type": "tiles", "encoder": INNER, "layouts": [[1, 1], [1, 2], [2, 1]]},
    "concat": {"type": "concat", "encoders": [INNER, SCRATCH | {"image_size": 48}]},
    "sequence": {"type": "concat", "by": "sequence", "encoders": [INNER, SCRATCH]},
    "tiles of concat": {"type": "tiles", "encoder": {"type": "concat", "encoders": [INNER] * 2}},
    "vit": SCRATCH,
    "vit that leaves patches out": SCRATCH
    | {"pool": "mean", "drop": 0.5, "stem": "conv", "positions": "sincos"},
}


@pytest.mark.parametrize("trained", ["connector", "everything", "encoder"])
@pytest.mark.parametrize("encoder", NESTED.values(), ids=NESTED)
def test_encoders_around_others_and_from_scratch_are_counted(encoder, trained: str):
    made = model(LLAMA, encoder)
    apply_tuners(made.parts(), STAGES[trained])
    pack = batch(made)
    places = int(pack.visual[-1]) + 1
    if places > sum(LENGTHS):  # visual tokens of tiles do not fit into the texts of the others
        pack = replace(
            pack,
            ids=torch.arange(places) % 200 + 5,
            targets=torch.full((places,), Pack.IGNORE).index_fill(0, torch.arange(20), 7),
            segments=Segments((places - 40, 40)),
            samples=("a", "b"),
        )
    counted = flop_model(made, bf16=False).step([pack], causal=False)
    assert counted == pytest.approx(executed(made, pack), rel=0.01)


def test_of_two_encoders_one_may_be_frozen_and_is_counted_so():
    made = model(LLAMA, NESTED["concat"])
    tuner = ByModule.Config(modules={"encoders.1": Full.Config()})
    apply_tuners(made.parts(), {"encoder": tuner, "connector": Full.Config()})
    pack = batch(made)
    counted = flop_model(made, bf16=False).step([pack], causal=False)
    assert counted == pytest.approx(executed(made, pack), rel=0.01)


@pytest.mark.parametrize("level", ["none", "selective", "full"])
@pytest.mark.parametrize("trained", ["connector", "lora and connector", "everything"])
def test_layers_computed_twice_are_counted_apart(trained: str, level: Level):
    made = model(LLAMA, {"type": "clip", "config": CLIP})
    apply_tuners(made.parts(), STAGES[trained])
    flops = flop_model(made, bf16=False)
    pack = batch(made)
    layers = Layers(made)
    layers.recompute(partial(again, level))
    with set_checkpoint_early_stop(False):
        found = executed(made, pack)
    repeated = flops.repeated([pack], layers.again)
    assert (repeated > 0) == (level != "none")
    # The counter sees attention as the whole square, in both runs.
    squares = sum(length**2 for length in LENGTHS) / 2
    halves = sum(flops.layers[index].pair * squares for index in layers.again(3))
    assert flops.step([pack], causal=False) + repeated + halves == pytest.approx(found, rel=0.01)


@contextmanager
def grouped_convolutions(made: VisionLanguageModel) -> Iterator[list[int]]:
    """What torch counts too much in this block: the gradient of a grouped convolution's weight as
    if there were one group."""
    excess: list[int] = []

    def note(layer: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        once = 2 * layer.weight.numel() * output.numel() // output.shape[1]
        excess.append(once * (layer.groups - 1) * layer.weight.requires_grad)

    layers = [layer for layer in made.connector.modules() if isinstance(layer, nn.Conv2d)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    yield excess
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("trained", ["connector", "everything", "lora"])
@pytest.mark.parametrize("connector", CONNECTORS.values(), ids=CONNECTORS)
def test_connectors_are_counted_by_image_feature_and_word(connector: dict[str, Any], trained: str):
    """Of images of four grids; the count was laid through one of one, two and three. All are
    alike: what is padded to be as long as others is executed, but is no work."""
    tiles = 4
    made = model(LLAMA, {"type": "clip", "config": CLIP}, connector)
    apply_tuners(made.parts(), STAGES[trained])
    flops = flop_model(made, bf16=False)
    grids = made.encoder.blank().grids[0] * tiles
    places = 2 * made.connector.config.num_tokens(grids)
    pixels = batch(made).images.pixels[:1].repeat(2 * tiles, 1, 1, 1)
    pack = replace(
        batch(made),
        images=Images(pixels, crops=(tiles, tiles), grids=(grids, grids)),
        text=ConnectorText.of([[5] * 9] * 2) if "text" in connector else None,
        visual=torch.arange(places),
        ids=torch.arange(places + 50) % 200 + 5,
        targets=torch.full((places + 50,), 7),
        segments=Segments((places + 50,)),
        weight=places + 50,
    )
    with grouped_convolutions(made) as excess:
        whole = executed(made, pack) - sum(excess)
    assert flops.step([pack], causal=False) == pytest.approx(whole, rel=0.01)
    # The LLM is larger: what encoder and connector take, by themselves.
    words = [9, 9] if "text" in connector else []
    features = tiles * made.encoder.grid.num_features
    counted = 2 * tiles * flops.crop + 2 * flops.image(features)
    counted += sum(map(flops.read, words))
    with (
        grouped_convolutions(made) as excess,
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        seen = made.see(pack.images, pack.text)
        if seen.requires_grad:
            seen.sum().backward()
    assert counted == pytest.approx(counter.get_total_flops() - sum(excess), rel=0.01)


def test_layers_that_look_from_inside_the_llm_give_no_figure():
    made = model(LLAMA, {"type": "clip", "config": CLIP}, "gated_cross_attention")
    assert flop_model(made, bf16=False) is None


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


def test_convolutional_encoder_is_counted_by_its_own_positions():
    made = model(LLAMA, CONVNET)
    apply_tuners(made.parts(), STAGES["connector"])
    pack = batch(made)
    counted = flop_model(made, bf16=False).step([pack], causal=False)
    assert counted == pytest.approx(executed(made, pack), rel=0.01)


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
