"""Connectors that take no place in the sequence, and those that read: what they are told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus.core.contracts import (
    ConnectorText,
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
from isthmus.testing import tiny_model_config, tiny_pictures
from tests.core.model.gated import gated, open_gates
from tests.core.model.test_vlm import TOKENIZER, pack


@pytest.fixture
def model() -> VisionLanguageModel:
    return build_model(tiny_model_config(), tokenizer=TOKENIZER)


def test_a_cross_attention_connector_takes_no_place_and_is_neutral_at_first(model) -> None:
    batch = replace(pack(model), visual=torch.empty(0, dtype=torch.long))
    plain = VisionLanguageModel(llm=model.llm).hidden(replace(batch, images=None))
    names = set(model.llm.state_dict())
    whole = VisionLanguageModel(model.encoder, gated(), model.llm)
    assert torch.equal(whole.hidden(batch), plain)
    assert set(whole.llm.state_dict()) == names
    open_gates(whole.connector, 1.0)
    assert not torch.allclose(whole.hidden(batch), plain)


@pytest.mark.parametrize("name", ["encoder", "connector", "llm"])
def test_a_part_drawn_anew_does_not_attach_a_connector_twice(model, name: str) -> None:
    batch = replace(pack(model), visual=torch.empty(0, dtype=torch.long))
    whole = VisionLanguageModel(model.encoder, gated(), model.llm)
    whole.reset(name, seed=1)
    hooks = [len(layer._forward_pre_hooks) for layer in whole.llm.decoder_layers]
    assert hooks == [1, 1]
    neutral = whole.hidden(batch)
    open_gates(whole.connector, 1.0)
    assert not torch.allclose(whole.hidden(batch), neutral)


@pytest.fixture
def whole(model: VisionLanguageModel) -> VisionLanguageModel:
    return VisionLanguageModel(model.encoder, gated(opened=0.5), model.llm)


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


def test_by_cross_attention_a_sample_sees_its_own_images_alone(whole) -> None:
    samples = [(7, [0, 3]), (5, []), (6, [6]), (4, [1])]
    together = whole.hidden(looking(whole, samples))
    alone = [whole.hidden(looking(whole, [sample])) for sample in samples]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    plain = VisionLanguageModel(llm=whole.llm)
    without = plain.hidden(replace(looking(whole, samples), images=None))
    changed = (together - without).abs().amax(dim=1) > 1e-4
    # The picture at the very end of the third sample is behind all of its tokens.
    assert changed.tolist() == [True] * 7 + [False] * 5 + [False] * 6 + [False] + [True] * 3


def test_states_without_a_place_are_an_error(whole) -> None:
    batch = looking(whole, [(7, [0, 3])])
    with pytest.raises(PartError, match=r"2 images .* 1 places"):
        whole.hidden(replace(batch, stands=batch.stands[:1]))


def test_by_cross_attention_a_batch_without_images_leaves_no_parameter_out(whole) -> None:
    whole.llm.requires_grad_(False)
    whole.encoder.requires_grad_(False)
    whole.hidden(looking(whole, [(5, []), (3, [])])).sum().backward()
    assert all(parameter.grad is not None for parameter in whole.connector.parameters())


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
    assert gated().config.num_tokens(grids) == 0
