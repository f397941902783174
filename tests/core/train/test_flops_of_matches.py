"""What objectives take that compare pictures with texts, beside torch's counter."""

from __future__ import annotations

from typing import Any

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from isthmus.core.config import load, validate_part
from isthmus.core.contracts import Images, Mixed
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.train.operations import flop_model
from isthmus.core.train.tuning import apply_tuners
from isthmus.plugins.tuners.full import Full
from isthmus.testing import tiny_pictures, tiny_texts, tiny_tokenizer
from tests.core.train.counting import CLIP, LLAMA, model
from tests.plugins.objectives.matches import matches

TOWER = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
}
OWN = {"tokenizer": {"vocab_size": 300}}
FORMER = {"type": "qformer", "queries": 5, "dim": 24, "layers": 2, "heads": 4, "hidden": 48}
FORMER |= {"positions": 40, "dropout": 0.0, "text": "objective", **OWN}
TOWERS = {"text_encoder": {"type": "clip", "config": TOWER, **OWN}}
OBJECTIVES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "clip": ({"type": "clip", "dim": 16}, TOWERS),
    "siglip": ({"type": "siglip", "pool": "attention", "heads": 2, "dim": 16}, TOWERS),
    "itc": ({"type": "itc", "dim": 8}, {"connector": FORMER}),
    "itm": ({"type": "itm"}, {"connector": FORMER}),
    "itg": ({"type": "itg"}, {"connector": FORMER}),
}
OBJECTIVES["mix"] = (
    {"type": "mix", "of": [OBJECTIVES[name][0] for name in ("itc", "itm", "itg")]},
    {"connector": FORMER},
)
BERT = {"type": "bert", "dim": 24, "layers": 2, "heads": 4, "hidden": 48, "positions": 40}
OBJECTIVES["copies"] = (
    {
        "type": "mix",
        "of": [{"type": "itc", "dim": 8}, "itm", {"type": "mlm", "share": 1}],
        "momentum": {},
    },
    {"text_encoder": {**BERT, "cross": True, "dropout": 0.0, **OWN}},
)


@pytest.mark.parametrize("encoder", ["frozen", "full"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_matches_are_what_the_counter_sees(name: str, encoder: str):
    values, parts = OBJECTIVES[name]
    config = load(ModelConfig, {"encoder": {"type": "clip", "config": CLIP}, **parts})
    made = build_model(config, tokenizer=tiny_tokenizer(), texts=tiny_texts)
    learning = {part: Full.Config() for part in parts}
    apply_tuners(made.parts(), learning | ({"encoder": Full.Config()} if encoder == "full" else {}))
    part: Any = validate_part("objective", values)
    objective = part.build()
    objective.join(made)
    flops = flop_model(made, bf16=False, objective=objective)
    pictures = Images.of(tiny_pictures()[:3] * 2, made.encoder.transform)
    batch = matches(pictures, [[5 + at] * 13 for at in range(6)])
    batch = Mixed((batch,) * 3) if values["type"] == "mix" else batch
    counted = flops.step([batch])
    objective.train(name == "copies")  # which nobody asks but in training
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        objective(made, batch).sum.sum().backward()
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert all(p.grad is None for p in made.encoder.parameters()) == (encoder == "frozen")


def test_longer_texts_take_more_and_padding_nothing():
    values, parts = OBJECTIVES["clip"]
    config = load(ModelConfig, {"encoder": {"type": "clip", "config": CLIP}, **parts})
    made = build_model(config, tokenizer=tiny_tokenizer(), texts=tiny_texts)
    part: Any = validate_part("objective", values)
    objective = part.build()
    objective.join(made)
    flops = flop_model(made, bf16=False, objective=objective)
    pictures = Images.of(tiny_pictures()[:2], made.encoder.transform)
    short, long, both = (
        flops.step([matches(pictures, texts)])
        for texts in ([[5] * 4] * 2, [[5] * 12] * 2, [[5] * 4, [5] * 12])
    )
    assert short < both < long
    assert both == pytest.approx((short + long) / 2)


def test_matches_are_no_figure_of_next_tokens():
    made = model(LLAMA, {"type": "clip", "config": CLIP})
    batch = matches(Images.of(tiny_pictures()[:2], made.encoder.transform), [[5, 6]] * 2)
    assert flop_model(made, bf16=False).step([batch]) is None
