"""What each tuner trains, and what it hands over."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus.core.contracts import Features, Grid, Images, Segments
from isthmus.core.model.build import build_model
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import PartError
from isthmus.plugins.connectors.identity import Identity
from isthmus.plugins.llms.causal import Causal
from isthmus.plugins.tuners.frozen import Frozen
from isthmus.plugins.tuners.full import Full
from isthmus.plugins.tuners.lora import Lora
from isthmus.testing import tiny_model_config, tiny_pictures, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
PARTS = ("encoder", "connector", "llm")
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}


@pytest.fixture
def model() -> VisionLanguageModel:
    built = build_model(tiny_model_config(), tokenizer=TOKENIZER)
    return built.requires_grad_(False).eval()


def run(part: Any) -> Tensor:
    if hasattr(part, "embed"):
        return part(part.embed(torch.arange(3, 13)), Segments((6, 4)))
    if hasattr(part, "transform"):
        return part(Images.of(tiny_pictures(), part.transform)).values
    torch.manual_seed(0)
    return part(Features(torch.randn(4, 24), ((Grid(2, 2),),)))


def learning(part: nn.Module) -> set[str]:
    return {name for name, p in part.named_parameters() if p.requires_grad}


def stirred(part: nn.Module, tuner: Lora) -> Tensor:
    """What the part gives after its adapters have learnt something."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in tuner.groups(part)[0].parameters.values():
            parameter.normal_(std=0.1)
    return run(part)


@pytest.mark.parametrize("name", PARTS)
def test_frozen_trains_nothing(model: VisionLanguageModel, name: str) -> None:
    part, tuner = model.parts()[name].requires_grad_(True), Frozen.Config().build()
    tuner.apply(part)
    assert learning(part) == set()
    assert tuner.groups(part) == []


@pytest.mark.parametrize("name", PARTS)
def test_full_trains_everything_at_its_own_rate(model: VisionLanguageModel, name: str) -> None:
    part, tuner = model.parts()[name], Full.Config(lr=2e-5).build()
    tuner.apply(part)
    (group,) = tuner.groups(part)
    assert set(group.parameters) == learning(part) == {n for n, _ in part.named_parameters()}
    assert group.lr == 2e-5


@pytest.mark.parametrize("config", [Full.Config(), Lora.Config()])
def test_a_part_without_anything_to_train_is_refused(config: Any) -> None:
    part = Identity.Config().build(dim_in=8, dim_out=8)
    with pytest.raises(PartError, match="Identity has no"):
        config.build().apply(part)


@pytest.mark.parametrize("name", PARTS)
def test_lora_changes_nothing_at_first_and_trains_its_matrices_alone(model, name: str) -> None:
    part, tuner = model.parts()[name], Lora.Config(r=4, lr=2e-4).build()
    before = run(part)
    tuner.apply(part)
    (group,) = tuner.groups(part)
    assert group.lr == 2e-4
    assert set(group.parameters) == learning(part)
    assert all("lora_" in each for each in group.parameters)
    assert torch.allclose(run(part), before, atol=1e-6)


def test_lora_adapts_the_linear_layers_of_the_decoder_and_not_the_head(model) -> None:
    Lora.Config(r=4).build().apply(model.llm)
    ends = {name.split(".lora_")[0].rpartition(".")[2] for name in learning(model.llm)}
    wanted = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert ends == set(wanted)
    assert len(learning(model.llm)) == 2 * 7 * 2  # layers, projections, two matrices each


@pytest.mark.parametrize("name", PARTS)
def test_merged_lora_gives_the_same_from_plain_weights_under_their_old_names(
    model: VisionLanguageModel, name: str
) -> None:
    part, tuner = model.parts()[name], Lora.Config(r=4, alpha=8).build()
    names, before = list(part.state_dict()), run(part)
    tuner.apply(part)
    after = stirred(part, tuner)
    assert not torch.allclose(after, before, rtol=1e-2)
    tuner.finish(part)
    assert list(part.state_dict()) == names
    assert (run(part) - after).norm() < 1e-5 * after.norm()
    tuner.apply(part)
    assert (run(part) - after).norm() < 1e-5 * after.norm()


def test_the_added_matrix_is_alpha_over_r_times_b_a(model: VisionLanguageModel) -> None:
    part, tuner = model.connector, Lora.Config(r=4, alpha=12).build()
    weight = part.layers[0].weight.clone()
    tuner.apply(part)
    stirred(part, tuner)
    layer = part.layers[0]
    added = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * 12 / 4
    tuner.finish(part)
    assert torch.allclose(part.layers[0].weight, weight + added, atol=1e-6)


def test_kept_lora_is_taken_up_again_and_not_added_twice(model: VisionLanguageModel) -> None:
    part, tuner = model.llm, Lora.Config(r=4, hand_over="keep").build()
    tuner.apply(part)
    after, names = stirred(part, tuner), learning(part)
    tuner.finish(part)
    part.requires_grad_(False)
    assert torch.equal(run(part), after)
    Lora.Config(r=4).build().apply(part)
    assert torch.equal(run(part), after)
    assert learning(part) == names


def test_adapters_of_another_shape_are_refused(model: VisionLanguageModel) -> None:
    Lora.Config(r=4, hand_over="keep", targets=("q_proj",)).build().apply(model.llm)
    for other in ({"r": 2}, {"r": 4, "alpha": 3}):
        with pytest.raises(PartError, match="left an adapter of rank 4 and alpha 16"):
            Lora.Config(targets=("q_proj",), **other).build().apply(model.llm)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("v_proj",), r"left an adapter at model\.model\.layers\.0\.self_attn\.q_proj"),
        (("q_proj", "v_proj"), r"left adapters, but none at .*layers\.0\.self_attn\.v_proj"),
        (None, r"left adapters, but none at .*layers\.0\.mlp\.down_proj"),
    ],
)
def test_targets_that_an_earlier_stage_did_not_adapt_are_not_left_out(
    model: VisionLanguageModel, targets: Any, message: str
) -> None:
    Lora.Config(r=4, hand_over="keep", targets=("q_proj",)).build().apply(model.llm)
    with pytest.raises(PartError, match=message):
        Lora.Config(r=4, targets=targets).build().apply(model.llm)


def test_adapters_taken_up_get_the_new_stages_dropout(model: VisionLanguageModel) -> None:
    Lora.Config(r=4, hand_over="keep", dropout=0.5).build().apply(model.connector)
    Lora.Config(r=4, dropout=0.0).build().apply(model.connector)
    model.connector.train()
    torch.manual_seed(1)
    for parameter in model.connector.parameters():
        parameter.data.normal_()
    assert torch.equal(run(model.connector), run(model.connector.eval()))


def test_targets_are_names_or_their_ends(model: VisionLanguageModel) -> None:
    targets = ("q_proj", "model.model.layers.1.mlp.up_proj", "lm_head")
    Lora.Config(r=4, targets=targets).build().apply(model.llm)
    assert {name.split(".lora_")[0] for name in learning(model.llm)} == {
        "model.model.layers.0.self_attn.q_proj",
        "model.model.layers.1.self_attn.q_proj",
        "model.model.layers.1.mlp.up_proj",
        "model.lm_head",
    }


def test_a_target_that_matches_nothing_is_an_error(model: VisionLanguageModel) -> None:
    with pytest.raises(PartError, match=r"called 'q_prj'. Did you mean 'q_proj'\? There are: d"):
        Lora.Config(targets=("v_proj", "q_prj")).build().apply(model.llm)
    assert learning(model.llm) == set()


def test_merging_into_a_head_that_is_also_the_embeddings_is_refused() -> None:
    tied = tiny_model_config().llm.config | {"tie_word_embeddings": True}
    part = Causal.Config(config=tied).build(tokenizer_object=TOKENIZER)
    with pytest.raises(PartError, match=r"model\.lm_head shares its weight with another"):
        Lora.Config(targets=("lm_head",)).build().apply(part)
    Lora.Config(targets=("lm_head",), hand_over="keep").build().apply(part)


def test_transposed_layers_are_merged_right() -> None:
    part = Causal.Config(config=GPT2).build(tokenizer_object=TOKENIZER).eval()
    tuner = Lora.Config(r=4).build()
    tuner.apply(part)
    after = stirred(part, tuner)
    tuner.finish(part)
    assert (run(part) - after).norm() < 1e-5 * after.norm()


def test_what_was_learnt_beside_bf16_weights_is_not_rounded_away(model) -> None:
    part, tuner = model.connector.bfloat16(), Lora.Config(r=4).build()
    tuner.apply(part)
    for parameter in tuner.groups(part)[0].parameters.values():
        parameter.data = parameter.data.float().normal_(std=1e-3)
    layer = part.layers[0]
    base = layer.get_base_layer().weight.float()
    added = layer.get_delta_weight("default").float()
    tuner.finish(part)
    assert part.layers[0].weight.dtype == torch.float32
    assert torch.allclose(part.layers[0].weight - base, added, atol=1e-8)


def test_gradients_reach_every_adapter_and_nothing_else(model) -> None:
    tuner = Lora.Config(r=4).build()
    tuner.apply(model.llm)
    run(model.llm).square().sum().backward()
    for name, parameter in tuner.groups(model.llm)[0].parameters.items():
        assert parameter.grad is not None, name
    frozen = [p for p in model.llm.parameters() if not p.requires_grad]
    assert all(parameter.grad is None for parameter in frozen)
