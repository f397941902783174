"""The last layer on the tokens that are needed: the numbers of the whole layer, with less work."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from isthmus.core.contracts import Segments
from isthmus.core.model.draw import drawn_from
from isthmus.core.model.last_layer import by_row
from isthmus.core.model.layers import Layers
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.plugins.llms.causal import Causal
from isthmus.testing import tiny_tokenizer
from tests.plugins.llms.families import PADDED, RAGGED

LENGTHS = (11, 17, 9)
NEEDED = torch.tensor([4, 5, 10, 20, 36])


def build(family: str) -> Causal:
    shape = {"model_type": family, **(RAGGED | PADDED)[family]}
    config = Causal.Config(config=shape)
    return drawn_from(config, "llm", 0, {"tokenizer_object": tiny_tokenizer()}).eval()


def results(llm: Causal, needed: Tensor | None) -> dict[str, Tensor]:
    """Hidden states of the needed tokens, and the gradients of a function of theirs."""
    torch.manual_seed(1)
    llm.zero_grad()
    embeds = torch.randn(sum(LENGTHS), llm.dim).requires_grad_()
    hidden = llm(embeds, Segments(LENGTHS, needed))[NEEDED]
    hidden.cos().sum().backward()
    found = {name: p.grad.clone() for name, p in llm.named_parameters() if p.grad is not None}
    return found | {"hidden": hidden.detach(), "embeds": embeds.grad}


@pytest.mark.parametrize("family", RAGGED | PADDED)
def test_needed_tokens_have_the_values_and_gradients_of_the_whole_layer(family: str):
    llm = build(family)
    wanted, found = results(llm, None), results(llm, NEEDED)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("llama", {"self_attn.q_proj", "self_attn.o_proj", "mlp"}),
        ("opt", {"self_attn.q_proj", "self_attn.out_proj", "fc1", "fc2"}),
        ("gpt2", {"attn.c_proj", "mlp"}),  # queries, keys and values come from one matrix
        ("phi3", {"self_attn.o_proj", "mlp"}),
    ],
)
def test_modules_that_work_on_each_token_by_itself(family: str, names: set[str]):
    llm = build(family)
    layer = llm.decoder_layers[-1]
    embeds = torch.randn(10, llm.dim)
    found = by_row(layer, lambda: llm(embeds, Segments((6, 4))), 3, 10)
    assert {name for name, module in layer.named_modules() if module in found} == names


class Crossing(nn.Module):
    """Layers of matrices, one of which mixes tokens and one of which is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.mixed, self.twice, self.unused = (nn.Linear(4, 4) for _ in range(4))
        self.shift = nn.Conv1d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.own(x)
        x = x + self.mixed(x).roll(1, dims=1)
        x = self.shift(x.mT).mT
        self.unused(x)
        return self.twice(self.twice(x))


def test_modules_whose_output_meets_other_tokens_are_left_whole():
    torch.manual_seed(0)
    layer = Crossing()
    found = by_row(layer, lambda: layer(torch.randn(1, 6, 4)), 3, 6)
    # What comes before the mixing is needed for other tokens' sake.
    assert found == []
    plain = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    assert by_row(plain, lambda: plain(torch.randn(1, 6, 4)), 3, 6) == [plain[0]]


def test_matrices_multiply_the_needed_rows_alone():
    llm = build("llama")
    shape = llm.model.config
    with torch.no_grad(), FlopCounterMode(display=False) as whole:
        llm(torch.zeros(sum(LENGTHS), llm.dim), Segments(LENGTHS))
    with torch.no_grad(), FlopCounterMode(display=False) as less:
        llm(torch.zeros(sum(LENGTHS), llm.dim), Segments(LENGTHS, NEEDED))
    dim, inner = shape.hidden_size, shape.intermediate_size
    rows = sum(LENGTHS) - len(NEEDED)
    spared = 2 * (2 * dim * dim + 3 * dim * inner) * rows
    assert whole.get_total_flops() - less.get_total_flops() == spared


def test_layer_that_is_computed_twice_reads_the_same_both_times():
    llm = build("llama")
    wanted = results(llm, NEEDED)
    layers = Layers(VisionLanguageModel(llm=llm))
    layers.recompute(range)
    found = results(llm, NEEDED)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_call_that_says_nothing_of_what_it_needs_gets_every_token():
    llm = build("llama")
    embeds = torch.randn(sum(LENGTHS), llm.dim)
    with torch.no_grad():
        wanted = llm(embeds, Segments(LENGTHS))
        llm(embeds, Segments(LENGTHS, NEEDED))
        assert torch.equal(llm(embeds, Segments(LENGTHS)), wanted)


def test_a_copy_runs_its_own_layer():
    llm = build("llama")
    twin = copy.deepcopy(llm)
    nn.init.zeros_(twin.decoder_layers[-1].mlp.down_proj.weight)
    ours, theirs = (results(each, NEEDED)["hidden"] for each in (llm, twin))
    assert not torch.allclose(ours, theirs)
