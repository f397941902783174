"""An encoder that sees every distinct image once, and none that is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from isthmus.core.contracts import Encoder, Images
from isthmus.core.data.view import compared
from isthmus.core.model.build import build_model
from isthmus.core.model.features import encode_once
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.testing import tiny_model_config, tiny_pictures, tiny_tokenizer

ORDER = (0, 1, 0, 2, 1, 0)
"""Pictures of a batch, by number: three of six are distinct."""


@pytest.fixture
def model() -> Iterator[VisionLanguageModel]:
    # One thread: kernels then round alike whatever the size of the batch.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield build_model(tiny_model_config(), tokenizer=tiny_tokenizer())
    torch.set_num_threads(threads)


def batch(encoder: Encoder, order: tuple[int, ...] = ORDER) -> Images:
    pictures = tiny_pictures()
    return Images.of([pictures[number] for number in order], encoder.transform)


def count_images(encoder: nn.Module) -> list[int]:
    """Images that each call of the encoder is given, from here on."""
    counts: list[int] = []
    encoder.register_forward_pre_hook(lambda _, given: counts.append(len(given[0])))
    return counts


class Kept(dict):
    """A store in memory."""

    def put(self, features: dict[str, Tensor]) -> None:
        self.update({key: values.clone() for key, values in features.items()})


def test_an_image_that_occurs_twice_is_encoded_once(model) -> None:
    model.encoder.requires_grad_(False)
    images = batch(model.encoder)
    expected = model.encoder.eval()(images)
    counts = count_images(model.encoder)
    found = model.encode(compared(images))
    assert counts == [3]
    assert torch.equal(found.values, expected.values)
    assert found.grids == images.grids


def test_equal_images_leave_the_gradients_as_they_are(model) -> None:
    gradients = []
    model.encoder.double()
    weights = torch.randn(6 * 16, 24, generator=torch.Generator().manual_seed(0)).double()
    for images in (batch(model.encoder), compared(batch(model.encoder))):
        model.eval()
        model.zero_grad()
        (model.encode(images).values * weights).sum().backward()
        gradients.append({n: p.grad.clone() for n, p in model.encoder.named_parameters()})
    assert any(bool(gradient.any()) for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-9, atol=1e-12)


def test_an_encoder_in_training_mode_sees_every_occurrence(model) -> None:
    model.train()
    counts = count_images(model.encoder)
    model.encode(compared(batch(model.encoder)))
    assert counts == [6]


@pytest.mark.parametrize("known", [(), (0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("stored", [(), (0,), (2, 0), (0, 1, 2)])
def test_known_and_stored_features_are_taken_and_the_rest_computed(model, known, stored) -> None:
    """Against brute force: each image's features by itself."""
    model.encoder.requires_grad_(False)
    images = replace(batch(model.encoder), keys=tuple(f"k{number}" for number in ORDER))
    plain = {n: model.encode(batch(model.encoder, (n,))).values for n in range(3)}
    alone = {n: values + 10 for n, values in plain.items()}
    have = [position for position, number in enumerate(ORDER) if number in known]
    kept = [position for position in range(6) if position not in have]
    looked = images.take(kept) if kept else replace(images, pixels=images.pixels[:0])
    given = replace(
        images,
        pixels=looked.pixels,
        crops=tuple(int(position in kept) for position in range(6)),
        known=torch.cat([alone[ORDER[p]] for p in have]) if have else None,
    )
    model.store = Kept({f"k{number}": alone[number] for number in stored})
    counts = count_images(model.encoder)
    found = model.encode(given)
    new = {0, 1, 2} - {*known, *stored}
    assert counts == ([len(new)] if new else [])
    marked = {**plain, **{n: alone[n] for n in (*known, *stored)}}
    assert torch.equal(found.values, torch.cat([marked[number] for number in ORDER]))
    assert model.store.keys() == {f"k{number}" for number in {*stored, *new}}
    for number in new:
        assert torch.equal(model.store[f"k{number}"], plain[number])


def test_images_that_nobody_compared_go_through_as_they_are(model) -> None:
    store = Kept()
    images = batch(model.encoder)
    counts = count_images(model.encoder)
    features = encode_once(model.encoder.eval(), images, store)
    assert counts == [6]
    assert not store
    assert features.grids == images.grids


def test_packed_twins_give_the_visual_tokens_of_each_by_itself(model) -> None:
    model.encoder.requires_grad_(False)
    images = batch(model.encoder)
    tokens = torch.cat([model.see(batch(model.encoder, (number,))) for number in ORDER])
    torch.testing.assert_close(model.see(compared(images)), tokens, rtol=1e-5, atol=1e-6)
