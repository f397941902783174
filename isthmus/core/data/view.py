"""A picture of a sample, as far as it has to be looked at: its pixels, or the features that are
kept of it. And which pictures of a batch are equal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from isthmus.core.contracts import Grids, Images, ImageTransform, Picture, Tools
from isthmus.core.data.images import open_picture, picture_size, read_picture
from isthmus.errors import PartError

STRIDE = 509
"""Every so-manieth byte of two images' pixels is compared before all of them are. A prime: it
falls on all columns, rows and colours."""


@dataclass(frozen=True)
class View:
    """A picture with its `grids`: either `image`, or the `features` (tokens dim) kept under its
    `key`. There is a key where features are kept at all."""

    transform: ImageTransform
    grids: Grids
    image: Image.Image | None = None
    key: str = ""
    features: Tensor | None = None

    def images(self) -> Images:
        """A batch of this picture alone."""
        keys = (self.key,) if self.key else ()
        if self.image is not None:
            return replace(Images.of([self.image], self.transform), keys=keys)
        nothing = torch.empty(0, 3, 1, 1, dtype=torch.uint8)
        return Images(nothing, (0,), (self.grids,), keys, self.features)


def look(picture: Picture, origin: str, tools: Tools) -> View:
    """Look at a picture. Raises ImageError; PartError where nothing in the model can."""
    transform = transform_of(tools)
    if tools.blind:
        size = picture_size(picture, origin)
        return View(transform, transform.grids(size), Image.new("RGB", size, "grey"))
    content, key = None, ""
    if tools.store is not None:
        content, key = _identified(picture, origin)
        features = tools.store.get(key)
        if features is not None:
            grids = transform.grids(picture_size(picture, origin, content=content))
            if len(features) == sum(grid.num_features for grid in grids):
                return View(transform, grids, key=key, features=features)
    image = open_picture(picture, origin, content=content)
    return View(transform, transform.grids(image.size), image, key)


def transform_of(tools: Tools) -> ImageTransform:
    """What prepares pictures. Raises PartError where nothing in the model looks at them."""
    if tools.transform is None:
        raise PartError(
            "the data has images; looking at them takes an encoder, and for an llm an encoder and "
            "a connector"
        )
    return tools.transform


def picture_name(picture: Picture) -> str:
    """Equal for equal pictures, as far as that is known without decoding: a path, or a hash."""
    if isinstance(picture, Path):
        return str(picture)
    content = picture if isinstance(picture, bytes) else picture.tobytes()
    return hashlib.sha256(content).hexdigest()


def compared(images: Images) -> Images:
    """The images with equal keys for equal ones, where some are equal and none has a key."""
    if images.keys or len(images) < 2:
        return images
    runs = torch.split(images.pixels, list(images.crops))
    distinct: dict[tuple[Grids, bytes], list[int]] = {}
    keys = []
    for number, (run, grids) in enumerate(zip(runs, images.grids, strict=True)):
        alike = distinct.setdefault((grids, run.flatten()[::STRIDE].numpy().tobytes()), [])
        equal = next((other for other in alike if torch.equal(runs[other], run)), number)
        if equal == number:
            alike.append(number)
        keys.append(str(equal))
    return images if len(set(keys)) == len(keys) else replace(images, keys=tuple(keys))


def _identified(picture: Picture, origin: str) -> tuple[bytes | None, str]:
    """The bytes of a picture's file and their hash; of a picture that is open, its pixels'."""
    if isinstance(picture, Image.Image):
        image = open_picture(picture, origin)
        return None, hashlib.sha256(f"RGB {image.size} ".encode() + image.tobytes()).hexdigest()
    content = picture if isinstance(picture, bytes) else read_picture(picture, origin)
    return content, hashlib.sha256(content).hexdigest()
