"""What is decoded of a picture, what is read from a store instead, and which pictures are equal."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from isthmus.core.contracts import Grid, Images
from isthmus.core.data import view
from isthmus.core.data.pack import collate, encode_sample
from isthmus.core.data.view import compared, look
from isthmus.errors import ImageError
from tests.core.data.toys import photo, sample, tools


class Kept(dict):
    """A store in memory."""

    def put(self, features) -> None:
        self.update(features)


def images(*colours: int, crops: int = 1) -> Images:
    """Images of 5 x 7 pixels, each of one colour."""
    pixels = torch.tensor(colours, dtype=torch.uint8).repeat_interleave(crops)
    pixels = pixels[:, None, None, None].expand(-1, 3, 5, 7).contiguous()
    return Images(pixels, (crops,) * len(colours), ((Grid(1, 1),),) * len(colours))


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(1, 2))
def test_images_have_equal_keys_exactly_where_they_are_equal(colours, crops):
    batch = compared(images(*colours, crops=crops))
    if len(set(colours)) == len(colours):
        assert batch.keys == ()
    else:
        for one, key in zip(colours, batch.keys, strict=True):
            for other, its in zip(colours, batch.keys, strict=True):
                assert (one == other) == (key == its)


def test_one_pixel_or_another_grid_makes_another_image():
    batch = images(1, 1, 1)
    batch.pixels[1, 2, 4, 5] += 1
    assert compared(batch).keys == ("0", "1", "0")
    wider = replace(images(1, 1, 1), grids=((Grid(1, 1),), (Grid(1, 2),), (Grid(1, 1),)))
    assert compared(wider).keys == ("0", "1", "0")


def test_a_picture_that_occurs_in_two_samples_of_a_pack_has_one_key():
    samples = [
        sample("a", images=[photo(20, "red"), photo(20, "blue")]),
        sample("b", images=[photo(20, "red")]),
        sample("c"),
    ]
    pack = collate([encode_sample(one, tools()) for one in samples])
    assert pack.images.keys == ("0", "1", "0")
    assert collate([encode_sample(samples[0], tools())]).images.keys == ()


def test_a_kept_picture_is_not_decoded(monkeypatch, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(photo(35))
    kit = tools(store=Kept())
    first = look(path, "", kit)
    assert first.features is None
    assert first.images().keys == (first.key,)
    kit.store[first.key] = torch.ones(6, 5)
    monkeypatch.setattr(view, "open_picture", None)
    again = look(path, "", kit).images()
    assert again.crops == (0,)
    assert len(again.pixels) == 0
    assert again.grids == (first.grids,) == ((Grid(3, 2),),)
    assert torch.equal(again.known, torch.ones(6, 5))


def test_a_picture_is_known_by_its_content_alone(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(photo())
    kit = tools(store=Kept())
    assert look(path, "", kit).key == look(photo(), "", kit).key
    assert look(photo(), "", kit).key != look(photo(colour="blue"), "", kit).key
    opened = Image.open(BytesIO(photo()))
    assert look(opened, "", kit).key == look(Image.new("RGB", (20, 10), "red"), "", kit).key
    assert look(opened, "", kit).key != look(Image.new("RGB", (10, 20), "red"), "", kit).key


def test_features_of_another_length_than_promised_are_not_taken():
    kit = tools(store=Kept())
    key = look(photo(), "", kit).key
    kit.store[key] = torch.ones(3, 5)
    assert look(photo(), "", kit).image is not None


def test_a_picture_that_cannot_be_read_is_named_with_a_store_too(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(photo()[:40])
    with pytest.raises(ImageError, match=r"^row 1: .*photo\.png: "):
        look(path, "row 1", tools(store=Kept()))
    with pytest.raises(ImageError, match=r"^row 1: .*gone\.png: there is no such file"):
        look(tmp_path / "gone.png", "row 1", tools(store=Kept()))


def test_a_pack_may_hold_known_and_new_images(tmp_path):
    kit = tools(store=Kept())
    kit.store[look(photo(20, "red"), "", kit).key] = torch.full((4, 5), 7.0)
    one = encode_sample(sample("a", images=[photo(35), photo(20, "red")]), kit)
    other = encode_sample(sample("b", images=[photo(20, "red"), photo(20, "blue")]), kit)
    joint = collate([one, other]).images
    assert joint.crops == (1, 0, 0, 1)
    assert joint.keys[1] == joint.keys[2]
    assert len(set(joint.keys)) == 3
    assert torch.equal(joint.known, torch.full((8, 5), 7.0))
    plain = encode_sample(sample("a", images=[photo(35), photo(20, "red")]), tools())
    assert torch.equal(joint.pixels[:1], plain.images.pixels[:1])
    assert torch.equal(one.visual, plain.visual)
