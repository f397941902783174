"""What encoders and connectors take, beside torch's counter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from isthmus.core.contracts import ConnectorText, Images, Pack, Segments
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.operations import flop_model
from isthmus.core.train.tuning import apply_tuners
from isthmus.plugins.tuners.by_module import ByModule
from isthmus.plugins.tuners.full import Full
from tests.core.train.counting import CLIP, LENGTHS, LLAMA, STAGES, batch, executed, model

CONVNET = {
    "type": "timm",
    "model": "resnet18",
    "weights": None,
    "image_size": 32,
    "layer": 3,
}
QFORMER = {"type": "qformer", "queries": 5, "dim": 24, "layers": 3, "heads": 4, "hidden": 40}
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
    counted = 2 * tiles * flops.sight.crop + 2 * flops.sight.image(features)
    counted += sum(map(flops.sight.read, words))
    with (
        grouped_convolutions(made) as excess,
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        seen = made.see(pack.images, pack.text)
        if seen.requires_grad:
            seen.sum().backward()
    assert counted == pytest.approx(counter.get_total_flops() - sum(excess), rel=0.01)


def test_convolutional_encoder_is_counted_by_its_own_positions():
    made = model(LLAMA, CONVNET)
    apply_tuners(made.parts(), STAGES["connector"])
    pack = batch(made)
    counted = flop_model(made, bf16=False).step([pack], causal=False)
    assert counted == pytest.approx(executed(made, pack), rel=0.01)
