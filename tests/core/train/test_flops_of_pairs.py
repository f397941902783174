"""What encoder-decoders take, beside torch's counter and by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from isthmus.core.config import load
from isthmus.core.contracts import Images, Pack, Pairs, Segments
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.operations import flop_model
from isthmus.core.train.recompute import Level
from isthmus.core.train.tuning import apply_tuners
from isthmus.testing import tiny_pictures, tiny_texts, tiny_tokenizer
from tests.core.train.counting import CLIP, STAGES, executed, executed_again

T5 = {
    "model_type": "t5",
    "d_model": 32,
    "d_kv": 12,
    "d_ff": 64,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "dropout_rate": 0.0,
    "feed_forward_proj": "gated-gelu",
}
BART = {
    "model_type": "bart",
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
}
SOURCES, TARGETS = (53, 31), (17, 29)
"""So different that attention computes each by itself, with nothing repeated."""


def model(llm: dict[str, Any]) -> VisionLanguageModel:
    seq2seq = {"type": "seq2seq", "config": llm}
    encoder = {"type": "clip", "config": CLIP}
    config = load(ModelConfig, {"encoder": encoder, "connector": "mlp", "llm": seq2seq})
    return build_model(config, tokenizer=tiny_tokenizer(), texts=tiny_texts)


def batch(made: VisionLanguageModel, sources: Any = SOURCES, targets: Any = TARGETS) -> Pairs:
    """Two pairs, a picture in the first source; all that the decoder reads is supervised."""
    images = Images.of(tiny_pictures()[:1], made.encoder.transform)
    places = made.connector.config.num_tokens(images.grids[0])
    ids = torch.arange(sum(targets)) % 200 + 5
    return Pairs(
        source_ids=torch.arange(sum(sources)) % 200 + 5,
        sources=Segments(sources),
        visual=torch.arange(places),
        shows=torch.arange(places),
        images=images,
        ids=ids,
        targets=ids,
        segments=Segments(targets),
        samples=("a", "b"),
        weight=float(sum(targets)),
    )


@pytest.mark.parametrize("trained", STAGES.values(), ids=STAGES)
def test_pairs_are_what_the_counter_sees(trained: dict[str, Any]):
    made = model(T5)
    apply_tuners(made.parts(), trained)
    pairs = batch(made)
    counted = flop_model(made, bf16=False).step([pairs], causal=False)
    assert counted == pytest.approx(executed(made, pairs), rel=0.01)


@pytest.mark.parametrize("trained", ["connector", "connector and llm"])
def test_families_that_are_padded_are_counted_without_what_pads(trained: str):
    made = model(BART)
    apply_tuners(made.parts(), STAGES[trained])
    # Alike, so that nothing pads.
    pairs = batch(made, (40, 40), (20, 20))
    counted = flop_model(made, bf16=False).step([pairs], causal=False)
    assert counted == pytest.approx(executed(made, pairs), rel=0.01)


@pytest.mark.parametrize("level", ["selective", "full"])
def test_layers_computed_twice_are_counted_apart(level: Level):
    made = model(T5)
    apply_tuners(made.parts(), STAGES["everything"])
    flops = flop_model(made, bf16=False)
    pairs = batch(made)
    found, layers = executed_again(made, pairs, level)
    repeated = flops.repeated([pairs], layers.again)
    assert repeated > 0
    # The counter sees the decoder's attention as the whole square, in both runs.
    share = len(set(layers.again(2)) & {0, 1}) / 2
    halves = share * flops.forward[1].own * sum(length**2 / 2 for length in TARGETS)
    assert flops.step([pairs], causal=False) + repeated + halves == pytest.approx(found, rel=0.01)


def test_by_hand():
    """Six operations for each weight and token; attention both ways in the encoder, back alone in
    the decoder, and across from each to each."""
    made = model(T5)
    apply_tuners(made.parts(), STAGES["connector and llm"])
    attention, mlp = 4 * 32 * 48, 3 * 32 * 64
    asks, keys = 2 * 32 * 48, 2 * 32 * 48
    read = 6 * 3 * (attention + mlp) * sum(SOURCES)
    said = 6 * 2 * (attention + asks + mlp) * sum(TARGETS) + 6 * 2 * keys * sum(SOURCES)
    pair = 3 * 4 * 48
    looks = 3 * sum(n**2 for n in SOURCES) + 2 * sum(n**2 / 2 for n in TARGETS)
    looks += 2 * sum(a * b for a, b in zip(SOURCES, TARGETS, strict=True))
    head = 6 * 32 * made.llm.model.lm_head.out_features * sum(TARGETS)
    flops, pairs = flop_model(made, bf16=False), batch(made)
    # The first layer of the decoder reads embeddings that learn, and so carry a gradient.
    language = flops.step([pairs]) - flops.sight.step(pairs)
    assert language == pytest.approx(read + said + pair * looks + head)


def test_a_pack_is_no_pair():
    made = model(T5)
    pack = Pack(
        ids=torch.zeros(2, dtype=torch.long),
        targets=torch.zeros(2, dtype=torch.long),
        segments=Segments((2,)),
        visual=torch.empty(0, dtype=torch.long),
        images=None,
        stands=torch.empty(0, 2, dtype=torch.long),
        samples=("a",),
        weight=2.0,
    )
    assert flop_model(made, bf16=False).step([pack]) is None
