"""Pictures become 8-bit RGB, or one clear ImageError."""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from isthmus.core.data.images import MAX_PIXELS, open_picture, picture_size, read_picture
from isthmus.errors import ImageError


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8))


def png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checked = name + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_lossless_formats_come_back_exactly(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(gradient(), kind, **options)
    assert np.array_equal(np.asarray(open_picture(data)), np.asarray(gradient()))
    assert picture_size(data) == (40, 30)


def test_jpeg_comes_back_close(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(gradient(), "JPEG", quality=95))
    difference = np.asarray(open_picture(path)).astype(int) - np.asarray(gradient())
    assert np.abs(difference).mean() < 3


def test_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_picture(data).getpixel((4, 4)) == (255, 0, 0)


def test_16_bit_grey_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16)[None].repeat(2, axis=0)
    data = encoded(Image.fromarray(ramp), "PNG")
    values = np.asarray(open_picture(data))[0, :, 0]
    assert len(np.unique(values)) == 256
    assert np.abs(values - ramp[0] / 257).max() <= 1


def test_16_bit_tiff_and_pgm_are_scaled_too():
    ramp = np.linspace(0, 65535, 1024).astype(np.uint16)[None]
    pgm = b"P5 1024 1 65535\n" + ramp.astype(">u2").tobytes()
    for data in (encoded(Image.fromarray(ramp), "TIFF"), pgm):
        values = np.asarray(open_picture(data))[0, :, 0]
        assert np.abs(values - ramp[0] / 257).max() <= 1


def test_16_bit_rgb_keeps_its_levels():
    ramp = np.linspace(0, 65535, 1024).astype(">u2")
    row = b"\0" + np.stack([ramp, ramp[::-1], ramp], axis=-1).tobytes()
    values = np.asarray(open_picture(png(1024, 1, 16, 2, row)))[0]
    assert len(np.unique(values[:, 0])) >= 200
    assert values[0].tolist() == [0, 255, 0]


def test_pixels_without_an_agreed_range_are_refused():
    for array in (np.full((2, 2), 0.5, np.float32), np.full((2, 2), 1 << 20, np.int32)):
        with pytest.raises(ImageError, match="no agreed range"):
            open_picture(encoded(Image.fromarray(array), "TIFF"))


def test_transparency_lies_on_white():
    layer = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    layer.putpixel((1, 0), (0, 0, 0, 0))
    palette = layer.quantize()
    grey = Image.new("LA", (2, 1), (7, 255))
    grey.putpixel((1, 0), (0, 0))
    for image, first in ((layer, (255, 0, 0)), (palette, (255, 0, 0)), (grey, (7, 7, 7))):
        opened = open_picture(encoded(image, "PNG"))
        assert opened.getpixel((0, 0)) == first
        assert opened.getpixel((1, 0)) == (255, 255, 255)


def test_cmyk_and_palette_become_rgb():
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    red, green, blue = open_picture(encoded(cyan, "JPEG")).getpixel((4, 4))
    assert red < 20
    assert min(green, blue) > 235
    palette = Image.new("RGB", (8, 8), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert open_picture(encoded(palette, "PNG")).getpixel((0, 0)) == (10, 200, 30)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_like_pillow_does(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(gradient(), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB")
    opened = open_picture(data)
    assert np.array_equal(np.asarray(opened), np.asarray(expected))
    assert picture_size(data) == opened.size == ((30, 40) if orientation >= 5 else (40, 30))


def test_broken_exif_leaves_the_picture_as_stored():
    data = encoded(gradient(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert open_picture(data).size == picture_size(data) == (40, 30)


def test_bomb_is_refused_before_it_is_decoded():
    # 20000 x 10000 at one bit: a valid file of a few hundred kilobytes.
    bomb = png(20000, 10000, 1, 0, (b"\0" + b"\0" * 2500) * 10)
    for call in (open_picture, picture_size):
        with pytest.raises(ImageError, match="more than twice the") as caught:
            call(bomb, "train.json, record 7")
        assert str(caught.value).startswith("train.json, record 7: ")
    with pytest.raises(ImageError, match=f"10000 x 9000 pixels; at most {MAX_PIXELS}"):
        open_picture(png(10000, 9000, 1, 0, b"\0"))
    with pytest.raises(ImageError, match="40 x 30 pixels; at most 1000"):
        open_picture(gradient(), max_pixels=1000)


def test_pillow_settings_stay_as_they_are():
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(ImageError):
        open_picture(png(20000, 10000, 1, 0, b"\0"))
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_truncated_file_is_an_error(kind, tmp_path):
    data = encoded(gradient(200, 200), kind)
    path = tmp_path / "cut.bin"
    for share in (0.02, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ImageError) as caught:
            open_picture(path, "train.json, record 7")
        assert str(caught.value).startswith(f"train.json, record 7: {path}: ")


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"<html>not found</html>", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"P6 9 9"],
)
def test_what_is_no_picture_says_so_and_shows_no_address(data):
    with pytest.raises(ImageError) as caught:
        open_picture(data, "row 1")
    assert "0x" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_formats_that_call_programs_are_refused():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    with pytest.raises(ImageError, match="no picture"):
        open_picture(eps)


def test_text_file_missing_file_and_folder_are_named(tmp_path):
    text = tmp_path / "photo.jpg"
    text.write_text("hello")
    for path, said in (
        (text, "no picture"),
        (tmp_path / "gone.jpg", "no such file"),
        (tmp_path, "not a file"),
        (tmp_path / ("x" * 300), "cannot be opened"),
        (Path("a\0b"), "not a file name"),
    ):
        with pytest.raises(ImageError, match=said):
            open_picture(path)


@pytest.mark.timeout(5)
def test_pipe_and_device_are_refused_without_waiting(tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(ImageError, match="not a file"):
            open_picture(path)


def test_open_picture_leaves_the_callers_image_alone():
    own = Image.open(BytesIO(encoded(gradient(), "PNG")))
    opened = open_picture(own)
    opened.putpixel((0, 0), (1, 2, 3))
    assert own.getpixel((0, 0)) == (0, 0, 0)
    assert own.size == picture_size(own)


def test_real_photos_open(data_folder):
    photos = sorted((data_folder / "llava_repo").glob("*.jpg"))
    assert photos
    for photo in photos:
        assert open_picture(photo).size == picture_size(photo)


def test_a_file_is_read_up_to_a_size(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(gradient(), "JPEG"))
    assert read_picture(path) == path.read_bytes()
    size = path.stat().st_size
    with pytest.raises(ImageError, match=f"^row 1: .*photo.jpg: {size} bytes; at most 9 are read"):
        read_picture(path, "row 1", max_bytes=9)
