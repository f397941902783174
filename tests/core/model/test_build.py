"""From the `model:` section to the model: seeds, sizes, missing parts."""

from __future__ import annotations

import pytest
import torch

from isthmus.core.config import check
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.errors import ConfigError, PartError
from isthmus.testing import tiny_llm_config, tiny_model_config, tiny_texts, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def weights(model, name: str) -> dict[str, torch.Tensor]:
    return model.parts()[name].state_dict()


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_swapping_one_part_leaves_the_others_weights_alone() -> None:
    first = build_model(tiny_model_config("mlp"), tokenizer=TOKENIZER, seed=3)
    second = build_model(tiny_model_config("linear"), tokenizer=TOKENIZER, seed=3)
    assert same(weights(first, "encoder"), weights(second, "encoder"))
    assert same(weights(first, "llm"), weights(second, "llm"))


def test_the_seed_decides_every_weight() -> None:
    once, again, other = (
        build_model(tiny_model_config(), tokenizer=TOKENIZER, seed=seed) for seed in (3, 3, 4)
    )
    for name in ("encoder", "connector", "llm"):
        assert same(weights(once, name), weights(again, name))
        assert not same(weights(once, name), weights(other, name))


def test_the_connector_joins_the_widths_of_its_neighbours() -> None:
    model = build_model(tiny_model_config(), tokenizer=TOKENIZER)
    assert (model.connector.dim_in, model.connector.dim_out) == (24, 32)


def test_the_tokenizer_is_trained_on_the_runs_text() -> None:
    model = build_model(tiny_model_config(), texts=tiny_texts)
    assert model.llm.tokenizer.get_vocab() == TOKENIZER.get_vocab()


def test_parts_that_are_not_asked_for_are_not_built() -> None:
    model = build_model(tiny_model_config(), tokenizer=TOKENIZER, only={"llm"})
    assert list(model.parts()) == ["llm"]
    alone = build_model(ModelConfig(llm=tiny_llm_config()), tokenizer=TOKENIZER)
    assert same(weights(model, "llm"), weights(alone, "llm"))


def test_a_part_that_is_not_in_the_config_is_named() -> None:
    with pytest.raises(PartError, match=r"no part 'lmm'. Parts: encoder, connector, llm. Did you"):
        build_model(tiny_model_config(), only={"lmm"})


def test_a_connector_alone_says_what_it_needs() -> None:
    with pytest.raises(PartError, match="build encoder with it"):
        build_model(tiny_model_config(), tokenizer=TOKENIZER, only={"connector", "llm"})


def test_building_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    build_model(tiny_model_config(), tokenizer=TOKENIZER)
    assert torch.equal(torch.rand(3), wanted)


def test_a_connector_without_its_ends_is_refused_by_the_config() -> None:
    with pytest.raises(ConfigError, match="a connector joins an encoder to an llm"):
        check(ModelConfig(connector=tiny_model_config().connector))
