"""The root module: named parts, the splice, batches without images, frozen parts."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from isthmus.core.contracts import (
    Connector,
    Encoder,
    Features,
    Images,
    Pack,
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


def test_the_blank_picture_of_an_encoder_is_one_image(model: VisionLanguageModel) -> None:
    encoder: Encoder = model.encoder
    assert len(encoder.blank()) == 1
