"""The conformance kit accepts honest parts and leaves the caller's random numbers alone; what it
catches is in `test_dishonest_*.py`, and built-in parts are tried in `test_built_in.py`."""

from __future__ import annotations

import torch

from isthmus.core.config import create
from isthmus.core.model.build import build_model
from isthmus.testing import (
    check_connector,
    check_encoder,
    check_llm,
    tiny_encoder_config,
    tiny_llm_config,
    tiny_model_config,
    tiny_pictures,
    tiny_texts,
    tiny_tokenizer,
)
from tests.testing.honest_parts import Gate, Patches, Project, Reader


def test_honest_parts_pass() -> None:
    check_encoder(Patches.Config())
    check_connector(Project.Config())
    check_connector(Gate.Config())
    check_connector(Reader.Config())


def test_checking_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    check_encoder(tiny_encoder_config())
    check_connector(Project.Config())
    assert torch.equal(torch.rand(3), wanted)


def test_tiny_parts_make_a_model() -> None:
    model = build_model(tiny_model_config({"type": "mlp", "depth": 3}), texts=tiny_texts)
    assert sum(p.numel() for p in model.parameters()) < 60_000
    assert len({picture.size for picture in tiny_pictures()}) == 4


def test_parts_of_the_registry_are_checked_by_their_config() -> None:
    shape = tiny_llm_config().config
    llm = create("llm", "causal", config=shape, tokenizer_object=tiny_tokenizer())
    check_llm(llm.config, tokenizer_object=llm.tokenizer)
