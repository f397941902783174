"""The root module: named parts, the splice, batches without images, frozen parts."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus.core.contracts import (
    VISUAL_SEEN,
    VISUAL_STATES,
    Connector,
    ConnectorText,
    CrossAttentionConnector,
    CrossAttentionStates,
    Encoder,
    Features,
    Grids,
    Images,
    Pack,
    QueryConnector,
    Segments,
)
from isthmus.core.model.build import build_model
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import PartError
from isthmus.testing import tiny_model_config, tiny_pictures, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


@pytest.fixture
def model() -> VisionLanguageModel:
    return build_model(tiny_model_config(), tokenizer=TOKENIZER)


def pack(model: VisionLanguageModel, images: int = 1) -> Pack:
    """Two samples; the images are at the start of the first."""
    places = 16 * images
    ids = torch.cat([torch.zeros(places, dtype=torch.long), torch.arange(3, 20)])
    return Pack(
        ids=ids,
        targets=torch.full_like(ids, Pack.IGNORE),
        segments=Segments((places + 9, 8)),
        visual=torch.arange(places),
        images=Images.of(tiny_pictures()[:images], model.encoder.transform) if images else None,
        stands=torch.tensor([(0, 16 * image) for image in range(images)]).reshape(-1, 2),
        samples=("a", "b"),
        weight=1.0,
    )


def test_parts_are_listed_in_the_order_data_flows(model: VisionLanguageModel) -> None:
    assert list(model.parts()) == ["encoder", "connector", "llm"]
    assert list(VisionLanguageModel(llm=model.llm).parts()) == ["llm"]


def test_the_llm_reads_visual_tokens_at_their_places(model: VisionLanguageModel) -> None:
    batch = pack(model, images=2)
    embeds, states = model.embed(batch.ids, batch.visual, batch.images)
    seen = model.connector(model.encoder(batch.images))
    assert states is None
    assert torch.equal(embeds[:32], seen)
    assert torch.equal(embeds[32:], model.llm.embed(batch.ids[32:]))


def test_ids_at_visual_places_mean_nothing(model: VisionLanguageModel) -> None:
    batch = pack(model)
    odd = replace(batch, ids=batch.ids.index_fill(0, batch.visual, -100))
    assert torch.equal(model.hidden(batch), model.hidden(odd))


def test_images_may_stand_anywhere(model: VisionLanguageModel) -> None:
    images = Images.of(tiny_pictures()[:1], model.encoder.transform)
    ids = torch.arange(3, 24)
    places = torch.tensor([0, *range(3, 17), 20])
    embeds, _ = model.embed(ids, places, images)
    seen = model.connector(model.encoder(images))
    assert torch.equal(embeds[places], seen)
    others = torch.tensor([i for i in range(21) if i not in places])
    assert torch.equal(embeds[others], model.llm.embed(ids[others]))


class Short(Connector, name="short"):
    """Promises 16 tokens and gives 15."""

    def __init__(self, config: Connector.Config, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.projection = nn.Linear(dim_in, dim_out)

    def forward(self, features: Features) -> Tensor:
        return self.projection(features.values[:-1])


def test_a_broken_promise_is_an_error_that_names_the_connector(model) -> None:
    model.connector = Short.Config().build(dim_in=24, dim_out=32)
    with pytest.raises(PartError, match=r"promised 16 visual tokens for 1 images .*gave 15"):
        model.hidden(pack(model))


def test_a_frozen_encoder_keeps_no_graph_and_stays_in_eval(model: VisionLanguageModel) -> None:
    model.encoder.requires_grad_(False)
    model.train()
    assert (model.encoder.training, model.connector.training) == (False, True)
    model.encoder.train()
    features = model.encode(pack(model).images)
    assert not features.values.requires_grad
    assert not model.encoder.training
    model.encoder.requires_grad_(True)
    assert model.encode(pack(model).images).values.requires_grad


@pytest.mark.parametrize("encoder_learns", [True, False])
def test_a_batch_without_images_leaves_no_parameter_without_a_gradient(
    model: VisionLanguageModel, encoder_learns: bool
) -> None:
    model.llm.requires_grad_(False)
    model.encoder.requires_grad_(encoder_learns)
    model.hidden(pack(model, images=0)).sum().backward()
    learning = [p for p in model.parameters() if p.requires_grad]
    assert learning
    for parameter in learning:
        assert parameter.grad is not None
        assert not parameter.grad.any()


def test_a_batch_without_images_has_the_hidden_states_of_the_llm_alone(model) -> None:
    batch = pack(model, images=0)
    alone = VisionLanguageModel(llm=model.llm).hidden(batch)
    assert torch.equal(model.hidden(batch), alone)


def test_the_encoder_rests_when_nothing_learns_from_it(model: VisionLanguageModel) -> None:
    ran: list[int] = []
    model.encoder.register_forward_hook(lambda *_: ran.append(1))
    with torch.no_grad():
        model.hidden(pack(model, images=0))
    assert not ran


def test_parts_may_be_stored_in_different_dtypes(model: VisionLanguageModel) -> None:
    batch = pack(model)
    wanted = model.hidden(batch)
    model.encoder.bfloat16()
    model.llm.bfloat16()
    got = model.hidden(batch)
    assert got.dtype == torch.bfloat16
    assert (got.float() - wanted).norm() < 0.1 * wanted.norm()
    with torch.autocast("cpu", torch.bfloat16):
        assert (model.hidden(batch).float() - wanted).norm() < 0.1 * wanted.norm()


def test_reset_draws_one_part_anew_and_leaves_the_others(model: VisionLanguageModel) -> None:
    before = {name: part.state_dict() for name, part in model.parts().items()}
    model.connector.double()
    model.reset("connector", seed=7)
    after = {name: part.state_dict() for name, part in model.parts().items()}
    for name in ("encoder", "llm"):
        assert all(torch.equal(before[name][key], after[name][key]) for key in before[name])
    weight = model.connector.layers[0].weight
    assert weight.dtype == torch.float64
    assert not torch.equal(weight.float(), before["connector"]["layers.0.weight"].float())
    model.reset("connector", seed=7)
    assert torch.equal(model.connector.layers[0].weight, weight)


def test_reset_of_a_bf16_part_leaves_its_rotary_frequencies_exact(model) -> None:
    before = {name: buffer.clone() for name, buffer in model.llm.named_buffers()}
    for parameter in model.llm.parameters():
        parameter.data = parameter.data.bfloat16()
    model.reset("llm", seed=1)
    after = dict(model.llm.named_buffers())
    assert before
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {p.dtype for p in model.llm.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", ["encoder", "llm"])
def test_every_part_can_be_reset(model: VisionLanguageModel, name: str) -> None:
    hidden = []
    for seed in (1, 2, 1):
        model.reset(name, seed)
        hidden.append(model.hidden(pack(model)))
    assert torch.equal(hidden[0], hidden[2])
    assert not torch.allclose(hidden[0], hidden[1])


def test_reset_of_a_part_that_is_not_there_names_those_that_are(model) -> None:
    with pytest.raises(PartError, match=r"no part 'conector'. Parts: encoder, connector, llm"):
        model.reset("conector", seed=0)


def test_tools_are_light_and_go_to_workers(model: VisionLanguageModel) -> None:
    tools = pickle.loads(pickle.dumps(model.tools(max_length=99, blind=True)))
    picture = tiny_pictures()[0]
    grids = tools.transform.grids(picture.size)
    assert tools.num_tokens(grids) == 16
    assert torch.equal(tools.transform(picture), model.encoder.transform(picture))
    assert tools.tokenizer("red dog")["input_ids"] == TOKENIZER("red dog")["input_ids"]
    assert (tools.max_length, tools.blind, tools.text_tokenizer) == (99, True, None)


def test_tools_of_a_model_without_a_part_have_none_of_it(model: VisionLanguageModel) -> None:
    tools = VisionLanguageModel(llm=model.llm).tools()
    assert (tools.transform, tools.num_tokens) == (None, None)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ({"llm": None}, "needs a causal `llm`"),
        ({"connector": None}, "needs an `encoder` and a `connector`"),
        ({"encoder": None}, "needs an `encoder` and a `connector`"),
    ],
)
def test_a_part_that_is_needed_and_absent_is_named(model, missing: dict, message: str) -> None:
    batch = pack(model)
    lacking = VisionLanguageModel(**{**model.parts(), **missing})
    with pytest.raises(PartError, match=message):
        lacking.hidden(batch)


class Gated(CrossAttentionConnector, name="gated"):
    """The least that enters an LLM by its layers: adds the gated sum of the images before."""

    def __init__(self, config: Any, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.project = nn.Linear(dim_in, dim_out)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, features: Features) -> CrossAttentionStates:
        values, mask = features.padded()
        return CrossAttentionStates(self.project(values), mask)

    def attach(self, llm: Any) -> list[Any]:
        def look(layer: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            states, seen = kwargs.pop(VISUAL_STATES, None), kwargs.pop(VISUAL_SEEN, None)
            if states is None:
                return args, kwargs
            shown = seen.to(states.values.dtype) @ states.values.mean(1)
            return (args[0] + torch.tanh(self.gate) * shown, *args[1:]), kwargs

        layers = llm.decoder_layers
        return [layer.register_forward_pre_hook(look, with_kwargs=True) for layer in layers]


def test_a_cross_attention_connector_takes_no_place_and_is_neutral_at_first(model) -> None:
    batch = replace(pack(model), visual=torch.empty(0, dtype=torch.long))
    plain = VisionLanguageModel(llm=model.llm).hidden(replace(batch, images=None))
    names = set(model.llm.state_dict())
    gated = Gated.Config().build(dim_in=24, dim_out=32)
    whole = VisionLanguageModel(model.encoder, gated, model.llm)
    assert torch.equal(whole.hidden(batch), plain)
    assert set(whole.llm.state_dict()) == names
    with torch.no_grad():
        gated.gate.fill_(1.0)
    assert not torch.allclose(whole.hidden(batch), plain)


@pytest.mark.parametrize("name", ["encoder", "connector", "llm"])
def test_a_part_drawn_anew_does_not_attach_a_connector_twice(model, name: str) -> None:
    batch = replace(pack(model), visual=torch.empty(0, dtype=torch.long))
    whole = VisionLanguageModel(
        model.encoder, Gated.Config().build(dim_in=24, dim_out=32), model.llm
    )
    whole.reset(name, seed=1)
    hooks = [len(layer._forward_pre_hooks) for layer in whole.llm.decoder_layers]
    assert hooks == [1, 1]
    neutral = whole.hidden(batch)
    with torch.no_grad():
        whole.connector.gate.fill_(1.0)
    assert not torch.allclose(whole.hidden(batch), neutral)


@pytest.fixture
def gated(model: VisionLanguageModel) -> VisionLanguageModel:
    connector = Gated.Config().build(dim_in=24, dim_out=32)
    with torch.no_grad():
        connector.gate.fill_(0.5)
    return VisionLanguageModel(model.encoder, connector, model.llm)


def looking(model: VisionLanguageModel, samples: list[tuple[int, list[int]]]) -> Pack:
    """Samples of so many tokens, with pictures that stand behind so many of them."""
    pictures = [picture for _, places in samples for picture in tiny_pictures()[: len(places)]]
    ids = torch.cat([torch.arange(3, 3 + length) for length, _ in samples])
    stands = [(index, at) for index, (_, places) in enumerate(samples) for at in places]
    return Pack(
        ids=ids,
        targets=ids,
        segments=Segments(tuple(length for length, _ in samples)),
        visual=torch.empty(0, dtype=torch.long),
        images=Images.of(pictures, model.encoder.transform) if pictures else None,
        stands=torch.tensor(stands, dtype=torch.long).reshape(-1, 2),
        samples=tuple(map(str, range(len(samples)))),
        weight=1.0,
    )


def test_by_cross_attention_a_sample_sees_its_own_images_alone(gated) -> None:
    samples = [(7, [0, 3]), (5, []), (6, [6]), (4, [1])]
    together = gated.hidden(looking(gated, samples))
    alone = [gated.hidden(looking(gated, [sample])) for sample in samples]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    plain = VisionLanguageModel(llm=gated.llm)
    without = plain.hidden(replace(looking(gated, samples), images=None))
    changed = (together - without).abs().amax(dim=1) > 1e-4
    # The picture at the very end of the third sample is behind all of its tokens.
    assert changed.tolist() == [True] * 7 + [False] * 5 + [False] * 6 + [False] + [True] * 3


def test_states_without_a_place_are_an_error(gated) -> None:
    batch = looking(gated, [(7, [0, 3])])
    with pytest.raises(PartError, match=r"2 images .* 1 places"):
        gated.hidden(replace(batch, stands=batch.stands[:1]))


def test_by_cross_attention_a_batch_without_images_leaves_no_parameter_out(gated) -> None:
    gated.llm.requires_grad_(False)
    gated.encoder.requires_grad_(False)
    gated.hidden(looking(gated, [(5, []), (3, [])])).sum().backward()
    assert all(parameter.grad is not None for parameter in gated.connector.parameters())


class Reads(QueryConnector, name="reads"):
    """Shifts every visual token of an image by how many words came with it."""

    def __init__(self, config: Any, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.tokenizer = TOKENIZER
        self.project = nn.Linear(dim_in, dim_out)

    def forward(self, features: Features, text: ConnectorText | None = None) -> Tensor:
        seen = self.project(features.values)
        if text is None:
            return seen
        words = text.mask.sum(dim=1).repeat_interleave(torch.tensor(features.counts))
        return seen + words[:, None]


def test_a_connector_that_reads_gets_the_text_of_each_image(model) -> None:
    reads = Reads.Config().build(dim_in=24, dim_out=32)
    whole = VisionLanguageModel(model.encoder, reads, model.llm)
    batch = replace(pack(model, images=2), text=ConnectorText.of([[5, 6, 7], [8]]))
    embeds, _ = whole.embed(batch.ids, batch.visual, batch.images, batch.text)
    unread, _ = whole.embed(batch.ids, batch.visual, batch.images)
    difference = (embeds - unread)[:32, 0].round().tolist()
    assert difference == [3.0] * 16 + [1.0] * 16
    assert whole.tools().connector_tokenizer is TOKENIZER
    assert whole.tools().text_tokenizer is None


def test_num_tokens_of_a_cross_attention_connector_is_zero(model: VisionLanguageModel) -> None:
    grids: Grids = model.encoder.transform.grids((9, 9))
    assert Gated.Config().num_tokens(grids) == 0


def test_the_blank_picture_of_an_encoder_is_one_image(model: VisionLanguageModel) -> None:
    encoder: Encoder = model.encoder
    assert len(encoder.blank()) == 1
