"""Flamingo's blocks inside an LLM, beside loops written from the paper."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from isthmus.core.config import create, load, validate_part
from isthmus.core.contracts import (
    VISUAL_SEEN,
    VISUAL_STATES,
    CausalLLM,
    ConnectorText,
    CrossAttentionStates,
    Features,
    Grid,
    Images,
    Pack,
    PartConfig,
    QueryConnector,
    Segments,
    Seq2SeqLLM,
)
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.layers import Layers
from isthmus.core.model.layout import sees
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import ConfigError, PartError
from isthmus.plugins.connectors.gated_cross_attention import Block, GatedCrossAttention
from isthmus.testing import (
    tiny_encoder_config,
    tiny_llm_config,
    tiny_model_config,
    tiny_pictures,
    tiny_tokenizer,
)
from tests.oracles import shifted
from tests.plugins.connectors.plain import attention, doubled, linear, norm
from tests.plugins.llms.families import RAGGED

TOKENIZER = tiny_tokenizer()
SMALL = {"type": "gated_cross_attention", "every": 1, "heads": 3, "head_dim": 4}


def opened(connector: GatedCrossAttention) -> GatedCrossAttention:
    """Every weight moved, the gates too."""
    torch.manual_seed(1)
    return shifted(connector, 0.3)


def by_paper(
    y: Tensor, weights: dict[str, Tensor], images: list[Tensor], before: list[int], last: bool
) -> Tensor:
    """Figure 4 of the paper: y += tanh(a) attention(q=y, kv=x), y += tanh(b) ffw(y). Image i is
    behind so many tokens; a token sees the last of those before it, or all of them."""
    rows, seen_by = torch.cat(images), []
    starts = [sum(len(image) for image in images[:i]) for i in range(len(images) + 1)]
    for token in range(len(y)):
        there = [i for i, count in enumerate(before) if count <= token]
        there = there[-1:] if last else there
        seen_by.append([row for i in there for row in range(starts[i], starts[i + 1])])
    asks = norm(y, weights, "attention_norm")
    found = attention(asks, rows, weights, "attention", heads=3, sees=seen_by)
    y = y + weights["attention_gate"].tanh() * found
    inner = linear(norm(y, weights, "mlp_norm"), weights, "mlp.fc1").clamp(min=0) ** 2
    return y + weights["mlp_gate"].tanh() * linear(inner, weights, "mlp.fc2")


@pytest.mark.parametrize("which", ["last", "all"])
def test_a_block_is_flamingos(which: str) -> None:
    config = GatedCrossAttention.Config(heads=3, head_dim=4, sees=which)
    block = opened(Block(32, 24, config)).double().eval()
    lengths, stands = (9, 4, 5), [(0, 2), (0, 2), (0, 6), (2, 0)]
    hidden = torch.randn(18, 32, dtype=torch.float64)
    real = torch.tensor([3, 5, 2, 5])
    states = CrossAttentionStates(
        torch.randn(4, 5, 24, dtype=torch.float64), torch.arange(5) < real[:, None]
    )
    seen = sees(Segments(lengths), torch.tensor(stands), 4)
    got = block(hidden[None], states, seen[None])[0]
    at = 0
    for sample, length in enumerate(lengths):
        own = [image for image, (of, _) in enumerate(stands) if of == sample]
        wanted = by_paper(
            hidden[at : at + length],
            doubled(block),
            [states.values[image, : real[image]] for image in own] or [torch.zeros(0, 24).double()],
            [stands[image][1] for image in own],
            which == "last",
        )
        torch.testing.assert_close(got[at : at + length], wanted, rtol=1e-9, atol=1e-9)
        at += length


@pytest.fixture
def llm() -> CausalLLM:
    made: CausalLLM = tiny_llm_config().build(tokenizer_object=TOKENIZER)
    return made.eval()


@pytest.mark.parametrize("family", RAGGED)
def test_text_is_bit_for_bit_that_of_the_bare_llm_and_pictures_come_in_with_the_gates(
    family: str,
) -> None:
    """In every family of decoders, by a pack and through the cache."""
    shape = {"model_type": family, **RAGGED[family]}
    config: Any = validate_part("llm", {"type": "causal", "config": shape})
    llm = config.build(tokenizer_object=TOKENIZER).eval()
    connector = create("connector", "gated_cross_attention", dim_in=24, dim_out=32, llm_layers=3)
    states = connector(Features(torch.randn(16, 24), ((Grid(4, 4),),)))
    segments = Segments((5, 4))
    given = {VISUAL_STATES: states, VISUAL_SEEN: sees(segments, torch.tensor([[1, 2]]), 1)}
    embeds, mask = llm.embed(torch.arange(3, 12)), torch.ones(1, 9, dtype=torch.bool)
    batch = given | {VISUAL_SEEN: given[VISUAL_SEEN][None]}
    with torch.no_grad():
        plain, (cached, _) = llm(embeds, segments), llm.decode(embeds[None], mask)
        connector.attach(llm)
        assert torch.equal(llm(embeds, segments, given), plain)
        assert torch.equal(llm.decode(embeds[None], mask, None, batch)[0], cached)
        opened(connector)
        moved = (llm(embeds, segments, given) - plain).abs().amax(dim=1) > 1e-4
        assert moved[7:].all()
        looked, _ = llm.decode(embeds[None], mask, None, batch)
        assert not torch.allclose(looked[0, 7:], cached[0, 7:])


def test_blocks_stand_before_the_first_layer_and_every_so_many_on() -> None:
    for every, layers, blocks in ((4, 32, 8), (4, 2, 1), (7, 80, 12), (1, 3, 3)):
        config = GatedCrossAttention.Config(every=every, heads=1, head_dim=2)
        part = config.build(dim_in=4, dim_out=4, llm_layers=layers)
        assert len(part.blocks) == blocks
        assert {block.attention_gate.shape for block in part.blocks} == {(1,)}
        assert not any(block.attention_gate or block.mlp_gate for block in part.blocks)


def test_an_llm_of_another_depth_is_refused(llm) -> None:
    part = GatedCrossAttention.Config().build(dim_in=24, dim_out=32, llm_layers=3)
    with pytest.raises(PartError, match=r"an LLM of 3 layers, and this one has 2; .*llm_layers=2"):
        part.attach(llm)


def test_states_are_those_of_the_connector_inside_padded_to_the_longest() -> None:
    part = create(
        "connector",
        "gated_cross_attention",
        states=validate_part("connector", {"type": "pixel_shuffle"}),
        dim_in=24,
        dim_out=32,
        llm_layers=2,
    )
    features = Features(torch.randn(16 + 4, 24), ((Grid(4, 4),), (Grid(2, 2),)))
    states = part(features)
    inside = part.norm(part.states(features))
    assert states.mask.tolist() == [[True] * 4, [True] + [False] * 3]
    torch.testing.assert_close(states.values[states.mask], inside)


def test_a_model_of_it_is_built_saved_as_plain_values_and_built_again() -> None:
    connector = SMALL | {"states": {"type": "resampler", "queries": 3, "layers": 1}}
    model = build_model(tiny_model_config(connector), tokenizer=TOKENIZER)
    assert len(model.connector.blocks) == 2
    names = {name.split(".")[0] for name in model.connector.state_dict()}
    assert names == {"blocks", "norm", "states"}
    assert model.connector.blueprint() == model.connector.config
    assert not model.connector.states.queries.std().isnan()


def pack(model: VisionLanguageModel) -> Pack:
    ids = torch.arange(3, 20)
    return Pack(
        ids=ids,
        targets=ids,
        segments=Segments((10, 7)),
        visual=torch.empty(0, dtype=torch.long),
        images=Images.of(tiny_pictures()[:3], model.encoder.transform),
        stands=torch.tensor([(0, 1), (0, 5), (1, 2)]),
        samples=("a", "b"),
        weight=1.0,
    )


@pytest.fixture
def model() -> VisionLanguageModel:
    made = build_model(tiny_model_config(SMALL), tokenizer=TOKENIZER)
    made.encoder.requires_grad_(False)
    opened(made.connector)
    return made.eval()


def test_layers_that_compute_twice_give_the_same_gradients(model) -> None:
    def gradients() -> list[Tensor]:
        model.zero_grad()
        model.hidden(pack(model)).square().sum().backward()
        learning = (model.connector, model.llm.decoder_layers)
        return [p.grad for part in learning for p in part.parameters()]

    wanted = gradients()
    layers = Layers(model)
    layers.recompute(range)
    assert all(map(torch.equal, gradients(), wanted))
    layers.restore()


def test_a_copy_of_the_model_looks_with_its_own_blocks(model) -> None:
    wanted = model.hidden(pack(model))
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.connector.parameters():
            parameter.zero_()
    assert torch.equal(model.hidden(pack(model)), wanted)
    assert not torch.allclose(other.hidden(pack(other)), wanted, atol=1e-3)


@pytest.mark.parametrize("stored", ["llm", "connector"])
def test_parts_may_be_stored_in_different_dtypes(model, stored: str) -> None:
    """The LLM's stream keeps its precision: with the gates shut not a bit of it is lost."""
    getattr(model, stored).to(torch.bfloat16)
    with torch.no_grad():
        for block in model.connector.blocks:
            block.attention_gate.zero_()
            block.mlp_gate.zero_()
    batch = pack(model)
    bare = VisionLanguageModel(llm=copy.deepcopy(model.llm))
    for layer in bare.llm.decoder_layers:
        layer._forward_pre_hooks.clear()
    assert torch.equal(model.hidden(batch), bare.llm(bare.llm.embed(batch.ids), batch.segments))


def test_a_connector_that_enters_the_llm_gives_no_states_to_another() -> None:
    with pytest.raises(ConfigError, match=r"states: gated_cross_attention enters the LLM itself"):
        validate_part("connector", SMALL | {"states": SMALL})


class Reads(QueryConnector, name="reads"):
    """Has a tokenizer, and so wants text."""

    tokenizer = TOKENIZER

    def forward(self, features: Features, text: ConnectorText | None = None) -> Tensor:
        return features.values


def test_a_connector_that_reads_has_nothing_to_read_here() -> None:
    config = GatedCrossAttention.Config(states=Reads.Config())
    with pytest.raises(PartError, match=r"states: reads reads text, .* look at pictures alone"):
        config.build(dim_in=24, dim_out=32, llm_layers=2)


class Twofold(Seq2SeqLLM, name="twofold"):
    """An LLM with an encoder, of which only the kind is looked at."""

    class Config(Seq2SeqLLM.Config):
        """Configuration of `twofold`."""


@pytest.mark.parametrize("connector", ["gated_cross_attention", "resampler"])
def test_an_llm_with_an_encoder_is_refused_when_the_configuration_is_read(connector: str) -> None:
    parts: dict[str, PartConfig] = {
        "encoder": tiny_encoder_config(),
        "connector": validate_part("connector", {"type": connector}),
        "llm": Twofold.Config(),
    }
    if connector == "resampler":
        assert load(ModelConfig, parts).connector == parts["connector"]
        return
    with pytest.raises(ConfigError) as caught:
        load(ModelConfig, parts)
    (problem,) = caught.value.problems
    assert problem.where == "connector"
    assert "the llm 'twofold' has an encoder" in problem.message
    assert "take `llm: causal`, or a connector that gives visual tokens" in problem.message
