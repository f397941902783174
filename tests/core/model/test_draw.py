"""Weights from scratch: drawn at 1/sqrt(fan in), from a seed of each part's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from isthmus.core.model.draw import draw_scaled, drawn_from, part_seed
from isthmus.plugins.connectors.mlp import Mlp


class Odd(nn.Module):
    """What families set on purpose: constants, tables far from zero, a gate, a bare table."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(400, 300)
        self.patches = nn.Conv2d(3, 500, kernel_size=8)
        self.words = nn.Embedding(1000, 100, padding_idx=7)
        self.norm = nn.LayerNorm(400)
        self.gate = nn.Linear(100, 100)
        nn.init.zeros_(self.gate.weight)
        self.position = nn.Parameter(torch.randn(1, 500, 64) * 0.02)
        self.decay = nn.Parameter(torch.linspace(1, 16, 50).log() + 1)


@pytest.fixture
def drawn() -> tuple[Odd, Odd]:
    torch.manual_seed(0)
    stock = Odd()
    scaled = copy.deepcopy(stock)
    draw_scaled(scaled)
    return stock, scaled


@pytest.mark.parametrize(
    ("name", "fan_in"),
    [("linear.weight", 400), ("patches.weight", 3 * 8 * 8), ("position", 64)],
)
def test_std_is_one_over_root_fan_in(drawn: tuple[Odd, Odd], name: str, fan_in: int) -> None:
    weight = drawn[1].get_parameter(name)
    assert weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.03)
    assert abs(weight.mean().item()) < 0.05 * fan_in**-0.5


@pytest.mark.parametrize(("width", "fan_in"), [(None, 400), (1000, 400), (64, 64)])
def test_more_than_the_models_width_counts_as_the_width(width: int | None, fan_in: int) -> None:
    layer = nn.Linear(400, 300)
    draw_scaled(layer, width)
    assert layer.weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.03)


def test_rows_of_a_table_have_unit_variance(drawn: tuple[Odd, Odd]) -> None:
    rows = torch.cat([drawn[1].words.weight[:7], drawn[1].words.weight[8:]])
    assert rows.std().item() == pytest.approx(1.0, rel=0.03)


def test_the_residual_stream_of_a_deep_model_does_not_grow() -> None:
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4}
    model = LlamaModel(LlamaConfig(vocab_size=500, num_hidden_layers=16, **sizes)).eval()
    draw_scaled(model)
    stream = model(torch.arange(40)[None], output_hidden_states=True).hidden_states
    first, last = stream[0].std().item(), stream[-2].std().item()
    assert first == pytest.approx(1.0, rel=0.05)
    assert last < 1.5 * first


@pytest.mark.parametrize("name", ["norm.weight", "norm.bias", "gate.weight", "decay"])
def test_what_was_set_on_purpose_stays(drawn: tuple[Odd, Odd], name: str) -> None:
    stock, scaled = drawn
    assert torch.equal(stock.get_parameter(name), scaled.get_parameter(name))


def test_biases_of_linear_layers_are_zero_and_so_is_the_row_of_padding(drawn) -> None:
    assert not drawn[1].linear.bias.any()
    assert not drawn[1].patches.bias.any()
    assert not drawn[1].words.weight[7].any()


def test_a_tied_weight_is_drawn_once_for_both() -> None:
    model = nn.Sequential(nn.Embedding(1000, 64), nn.Linear(64, 1000, bias=False))
    model[1].weight = model[0].weight
    draw_scaled(model)
    assert model[1].weight is model[0].weight
    assert model[0].weight.std().item() == pytest.approx(1 / 8, rel=0.03)


def test_gpt2s_transposed_layers_take_their_own_fan_in() -> None:
    from transformers.pytorch_utils import Conv1D

    layer = Conv1D(nf=50, nx=900)
    draw_scaled(layer)
    assert layer.weight.std().item() == pytest.approx(1 / 30, rel=0.03)


def test_a_part_is_drawn_from_the_seed_and_its_name_alone() -> None:
    def weights(seed: int, name: str) -> torch.Tensor:
        torch.manual_seed(int(torch.randint(1000, ())))
        widths = {"dim_in": 8, "dim_out": 8, "texts": None}
        return drawn_from(Mlp.Config(), name, seed, widths).layers[0].weight

    assert torch.equal(weights(0, "connector"), weights(0, "connector"))
    assert not torch.equal(weights(0, "connector"), weights(1, "connector"))
    assert not torch.equal(weights(0, "connector"), weights(0, "encoder"))


def test_drawing_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    drawn_from(Mlp.Config(), "connector", 5, {"dim_in": 8, "dim_out": 8})
    assert torch.equal(torch.rand(3), wanted)


def test_seeds_fit_torch() -> None:
    assert all(0 <= part_seed(seed, "llm") < 2**63 for seed in range(100))
