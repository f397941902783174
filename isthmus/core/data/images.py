"""Pictures, opened with suspicion: whatever the file holds becomes 8-bit RGB, or an ImageError.

Pillow's own settings are left alone, since they belong to the whole process. No message
repeats Pillow's text, which can show addresses in memory.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from isthmus.core.contracts import Picture
from isthmus.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is read; of an animation, the first frame. Formats that run code or call other
programs (EPS, WMF) are not."""

MAX_PIXELS = 89_478_485
"""Width times height of the largest picture, read off its header before anything is decoded:
a quarter of a GiB as RGB, which is Pillow's own line between a picture and a bomb."""

MAX_BYTES = 8 * MAX_PIXELS
"""Size of the largest file: such a picture uncompressed, in four channels of 16 bits."""

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the picture upright; 5 to 8 swap width and height."""


def open_picture(
    picture: Picture,
    origin: str = "",
    *,
    content: bytes | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """The whole picture as 8-bit RGB, upright, transparency on white.

    `origin` says which record asked for it; `content` is the file, where it was read before.
    Raises ImageError.
    """
    where = _where(picture, origin)
    if content is None and isinstance(picture, Path):
        # One read instead of Pillow's ten small ones.
        content = read_picture(picture, origin)
    with _opened(picture, where, max_pixels, content) as image:
        turn = _TRANSPOSE.get(_orientation(image))
        try:
            image.load()
        except MemoryError:
            raise
        except Exception:
            raise ImageError(
                f"{where}: the file is cut short or damaged; fetch it again, or drop the record"
            ) from None
        rgb = _rgb(image, where)
    return rgb if turn is None else rgb.transpose(turn)


def picture_size(
    picture: Picture,
    origin: str = "",
    *,
    content: bytes | None = None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[int, int]:
    """(width, height) that `open_picture` would give, from the header alone."""
    with _opened(picture, _where(picture, origin), max_pixels, content) as image:
        width, height = image.size
        return (height, width) if _orientation(image) >= 5 else (width, height)


def read_picture(picture: Path, origin: str = "", *, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a picture's file. Raises ImageError."""
    where = _where(picture, origin)
    with _stream(picture, where) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > max_bytes:
            raise ImageError(
                f"{where}: {size} bytes; at most {max_bytes} are read. Make it smaller"
            )
        try:
            return stream.read()
        except OSError as error:
            raise ImageError(f"{where}: cannot be read ({error.strerror})") from None


def _where(picture: Picture, origin: str) -> str:
    name = str(picture) if isinstance(picture, Path) else "the picture"
    return f"{origin}: {name}" if origin else name


@contextmanager
def _opened(
    picture: Picture, where: str, max_pixels: int, content: bytes | None
) -> Iterator[Image.Image]:
    """The picture with its header read and its size checked, not yet decoded."""
    with ExitStack() as stack:
        if isinstance(picture, Image.Image):
            image = picture
        else:
            # Pillow closes neither a stream that it was given nor, after errors, the picture.
            stream = stack.enter_context(_stream(picture if content is None else content, where))
            image = stack.enter_context(_header(stream, where, max_pixels))
        if image.width * image.height > max_pixels:
            size = f"{image.width} x {image.height}"
            raise ImageError(
                f"{where}: {size} pixels; at most {max_pixels} are decoded. Make it smaller"
            )
        yield image


def _header(stream: IO[bytes], where: str, max_pixels: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow warns from its own limit on; ours speaks after this, in our words.
            warnings.simplefilter("ignore")
            return Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageError(f"{where}: no picture. Formats: {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"{where}: more than twice the {max_pixels} pixels that are decoded. Make it smaller"
        ) from None
    except MemoryError:
        raise
    except Exception:
        raise ImageError(f"{where}: the picture's header is damaged") from None


def _stream(picture: Path | bytes, where: str) -> IO[bytes]:
    """The bytes to read, of a regular file only: a pipe would block, a device never end."""
    if isinstance(picture, bytes):
        return BytesIO(picture)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        if not stat.S_ISREG(os.stat(picture).st_mode):
            raise ImageError(f"{where}: not a file but a folder, pipe or device")
        descriptor = os.open(picture, flags | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise ImageError(f"{where}: there is no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise ImageError(f"{where}: cannot be opened ({reason})") from None
    stream = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        stream.close()
        raise ImageError(f"{where}: not a file but a folder, pipe or device")
    return stream


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 where there is none or it cannot be read."""
    if image.format == "TIFF":
        # Pillow turns a TIFF by itself, and its size is upright from the start.
        return 1
    try:
        # The base class's method: that of PNG decodes the picture to look behind its pixels.
        orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return orientation if orientation in _TRANSPOSE else 1


def _rgb(image: Image.Image, where: str) -> Image.Image:
    """8-bit RGB of a decoded picture in any mode."""
    if image.mode.startswith("I"):
        image = _eight_bits(image, where)
    elif image.mode == "F":
        raise ImageError(f"{where}: floating-point pixels have no agreed range; save 8 or 16 bits")
    try:
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            white = Image.new("RGBA", layer.size, "white")
            return Image.alpha_composite(white, layer).convert("RGB")
        return image.convert("RGB")
    except (ValueError, OSError):
        raise ImageError(f"{where}: colour mode {image.mode} cannot be turned into RGB") from None


def _eight_bits(image: Image.Image, where: str) -> Image.Image:
    """16-bit grey, its high byte, as Pillow takes it of 16-bit RGB. For grey it would clip:
    all above 255 becomes white."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{where}: 32-bit pixels have no agreed range; save 8 or 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))
