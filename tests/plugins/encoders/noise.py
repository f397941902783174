"""Pictures of noise in any size."""

from __future__ import annotations

import numpy as np
from PIL import Image


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """An RGB picture of `size` (width, height)."""
    width, height = size
    values = np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)
