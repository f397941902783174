"""From a picture of any size to the frame of one size that most encoders look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from isthmus.core.contracts import Grid, Grids, ImageTransform

Fit = Literal["resize", "crop", "pad"]
"""How a picture is brought to the encoder's frame: `resize` squashes it, `crop` fills the frame
and cuts what stands out (CLIP), `pad` adds bars of the mean colour and loses nothing (LLaVA-1.5).
"""

LONGEST_PADDED = 4096
"""Longest side, in pixels, that is squared at full size: a strip of 1 x 50,000 pixels would
otherwise need gigabytes. Longer pictures are first brought down to it."""


@dataclass(frozen=True)
class FitTransform(ImageTransform):
    """One picture -> one crop of `size` (height, width), whose features lie on `grid`.

    `fill` is the RGB colour of the bars that `pad` adds. `zoom` is the share of the resized
    picture that `crop` keeps: below 1, the picture overfills the frame and loses its border
    (timm's `crop_pct`).
    """

    size: tuple[int, int]
    grid: Grid
    fit: Fit
    fill: tuple[int, int, int] = (0, 0, 0)
    resample: Image.Resampling = Image.Resampling.BICUBIC
    zoom: float = 1.0

    def __call__(self, image: Image.Image) -> Tensor:
        framed = {"resize": self._resize, "crop": self._crop, "pad": self._pad}[self.fit](image)
        pixels = torch.from_numpy(np.array(framed, dtype=np.uint8))
        return pixels.permute(2, 0, 1)[None].contiguous()

    def grids(self, size: tuple[int, int]) -> Grids:
        return (self.grid,)

    @property
    def frame(self) -> tuple[int, int]:
        return self.size

    def squashed(self) -> FitTransform:
        return replace(self, fit="resize")

    def _resize(self, image: Image.Image) -> Image.Image:
        height, width = self.size
        return image.resize((width, height), self.resample)

    def _crop(self, image: Image.Image) -> Image.Image:
        """Resize until the frame is filled, then cut its centre.

        Both in one step: the part that is cut away is never computed, so that a long strip
        costs no more than a square.
        """
        height, width = self.size
        wide, high = image.size
        scale = max(int(height / self.zoom) / high, int(width / self.zoom) / wide)
        # Whole pixels, as CLIP's own preprocessing rounds them.
        resized = max(int(wide * scale + 1e-6), width), max(int(high * scale + 1e-6), height)
        left, top = (resized[0] - width) // 2, (resized[1] - height) // 2
        to_source = wide / resized[0], high / resized[1]
        box = (
            left * to_source[0],
            top * to_source[1],
            min((left + width) * to_source[0], wide),
            min((top + height) * to_source[1], high),
        )
        return image.resize((width, height), self.resample, box=box)

    def _pad(self, image: Image.Image) -> Image.Image:
        side = max(image.size)
        if side > LONGEST_PADDED:
            width, height = (max(1, round(x * LONGEST_PADDED / side)) for x in image.size)
            image, side = image.resize((width, height), self.resample), LONGEST_PADDED
        square = Image.new("RGB", (side, side), self.fill)
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return self._resize(square)


def normalise(
    pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype
) -> Tensor:
    """(crops 3 height width) uint8 -> the same in `dtype`: (pixel / 255 - mean) / std.

    The three numbers are plain floats, so that casting a module to bf16 leaves them exact.
    """
    values = pixels / 255
    channels = [(values[:, i] - mean[i]) / std[i] for i in range(len(mean))]
    return torch.stack(channels, dim=1).to(dtype)
