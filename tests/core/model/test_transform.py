"""Pictures reach the encoder's frame as CLIP's and LLaVA's own preprocessing bring them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from isthmus.core.contracts import Grid, Images
from isthmus.core.model.transform import LONGEST_PADDED, FitTransform, normalise

SIZES = [(64, 64), (640, 480), (480, 640), (33, 200), (200, 33), (31, 32), (7, 5), (500, 375)]


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def smooth(width: int, height: int) -> Image.Image:
    return noise(9, 7).resize((width, height), Image.Resampling.BICUBIC)


def frame(fit: str, side: int = 32, **options) -> FitTransform:
    return FitTransform(size=(side, side), grid=Grid(4, 4), fit=fit, **options)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("picture", [noise, smooth])
def test_crop_is_what_clips_processor_gives(size: tuple[int, int], picture) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, do_normalize=False
    )
    image = picture(*size)
    wanted = processor(images=image, return_tensors="pt")["pixel_values"]
    got = frame("crop")(image).float() / 255
    assert got.shape == wanted.shape
    # The centre may fall between two pixels of the source; rounding is one step of 255.
    assert (got - wanted).abs().max() <= 1.01 / 255


def test_pad_sets_the_picture_in_the_middle_of_a_square_of_the_mean_colour() -> None:
    image = Image.new("RGB", (4, 2), (200, 100, 50))
    pixels = frame("pad", side=4, fill=(10, 20, 30))(image)
    bar, middle = torch.tensor([10, 20, 30]), torch.tensor([200, 100, 50])
    wanted = torch.stack([bar, middle, middle, bar]).T[:, :, None].expand(3, 4, 4)
    assert torch.equal(pixels[0], wanted.to(torch.uint8))


def test_pad_puts_the_odd_row_after_the_picture_as_llava_does() -> None:
    rows = frame("pad", side=5, fill=(0, 0, 0))(Image.new("RGB", (5, 2), "white"))[0, 0, :, 0]
    assert rows.tolist() == [0, 255, 255, 0, 0]


def test_pad_of_a_square_is_a_plain_resize() -> None:
    image = noise(50, 50)
    assert torch.equal(frame("pad")(image), frame("resize")(image))


def test_resize_squashes() -> None:
    image = noise(90, 20)
    wanted = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC))
    assert torch.equal(frame("resize")(image)[0].permute(1, 2, 0), torch.from_numpy(wanted.copy()))


def test_zoom_keeps_the_centre() -> None:
    image = Image.new("RGB", (100, 100), "white")
    image.paste((0, 0, 0), (10, 10, 90, 90))
    assert frame("crop", zoom=0.5)(image).max() == 0
    assert frame("crop")(image).max() == 255


@pytest.mark.parametrize("fit", ["resize", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (3, 20000), (20000, 3)])
def test_every_shape_of_picture_fits(fit: str, size: tuple[int, int]) -> None:
    assert frame(fit)(Image.new("RGB", size, "red")).shape == (1, 3, 32, 32)


def test_a_long_strip_is_shrunk_before_it_is_squared(monkeypatch: pytest.MonkeyPatch) -> None:
    strip, made, new = noise(1, 3 * LONGEST_PADDED), [], Image.new
    monkeypatch.setattr(Image, "new", lambda mode, size, *a: made.append(size) or new(mode, size))
    frame("pad", fill=(0, 0, 0))(strip)
    assert max(side for size in made for side in size) == LONGEST_PADDED


def test_grids_promise_what_a_worker_would_give() -> None:
    transform = pickle.loads(pickle.dumps(frame("pad", fill=(1, 2, 3))))
    pictures = [noise(20, 30), noise(64, 40)]
    images = Images.of(pictures, transform)
    assert images.grids == ((Grid(4, 4),), (Grid(4, 4),))
    assert images.pixels.dtype == torch.uint8
    assert torch.equal(images.pixels[0], frame("pad", fill=(1, 2, 3))(pictures[0])[0])


def test_normalise_is_the_published_formula() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    got = normalise(pixels, (0.5, 0.1, 0.25), (0.5, 0.2, 0.5), torch.float32)
    assert torch.allclose(got.flatten(), torch.tensor([-1.0, 0.5, 1.5]))
