"""Does an encoder keep its contract (`isthmus.core.contracts.encoder`)?"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from isthmus.core.contracts import Encoder, Features, Images
from isthmus.core.train.tuning import set_precision
from isthmus.testing.promises import (
    build,
    check_config,
    check_gradient,
    check_rebuilding,
    close,
    in_worker,
    promise,
)
from isthmus.testing.tiny import tiny_pictures

SIZES = ((1, 1), (3, 500), (500, 3), (97, 61))
"""Width and height of pictures that a promise is most easily broken for."""


def check_encoder(
    config: Encoder.Config, pictures: Sequence[Image.Image] | None = None, **runtime: Any
) -> None:
    """Build the encoder and try every promise on some RGB pictures. Raises ContractBroken."""
    check_config(config)
    encoder: Encoder = build(config, **runtime).eval()
    pictures = list(pictures or tiny_pictures())
    _check_transform(encoder, pictures)
    images = Images.of(pictures, encoder.transform)
    _check_features(encoder, images)
    _check_alone(encoder, pictures)
    _check_dark(encoder)
    _check_any_size(encoder)
    _check_layers(encoder, images)
    _check_dtype(encoder, images)

    def run(part: Encoder) -> Tensor:
        with torch.no_grad():
            return _look(part, Images.of(pictures, part.transform)).values

    check_rebuilding(encoder, run, lambda plan, seed: build(plan, seed, **runtime))
    # Last: train mode may leave its mark on running statistics.
    for batch in (images, encoder.blank()):
        check_gradient(encoder, partial(_values, encoder, batch))


def _values(encoder: Encoder, images: Images) -> Tensor:
    return _look(encoder, images).values


def _look(encoder: Encoder, images: Images) -> Features:
    features: Features = encoder(images)
    return features


def _check_any_size(encoder: Encoder) -> None:
    """Grids are read off the size alone, and are right for a strip and for a single pixel."""
    name = type(encoder).__qualname__
    for size in SIZES:
        images = Images.of([Image.new("RGB", size, "grey")], encoder.transform)
        promise(
            len(images.grids[0]) == encoder.config.maps,
            f"{name}: Config.maps says {encoder.config.maps} grids of a picture; one of {size} "
            f"pixels has {len(images.grids[0])}",
        )
        with torch.no_grad():
            _check_features(encoder, images)


def _check_layers(encoder: Encoder, images: Images) -> None:
    """What is computed twice to save memory must run, and once."""
    ran: list[nn.Module] = []
    layers = list(encoder.encoder_layers)
    handles = [layer.register_forward_hook(lambda layer, *_: ran.append(layer)) for layer in layers]
    with torch.no_grad():
        _look(encoder, images)
    for handle in handles:
        handle.remove()
    promise(
        sorted(map(id, ran)) == sorted(map(id, layers)),
        f"{type(encoder).__qualname__}.encoder_layers: each of its {len(layers)} layers runs once, "
        f"by its forward; there were {len(ran)} runs",
    )


def _check_dtype(encoder: Encoder, images: Images) -> None:
    """Frozen in a bf16 run it is stored in bf16, and run as training runs it."""
    stored = copy.deepcopy(encoder).requires_grad_(False)
    set_precision({"encoder": stored}, True, {"encoder": frozenset()})
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        values = _look(stored, images).values
    promise(
        values.is_floating_point() and bool(values.isfinite().all()),
        f"{type(encoder).__qualname__}: stored in bf16, it gives features that are not finite",
    )


def _check_transform(encoder: Encoder, pictures: Sequence[Image.Image]) -> None:
    name = type(encoder).__qualname__
    transform = in_worker(encoder.transform)
    for picture in pictures:
        pixels = transform(picture)
        promise(
            pixels.dtype == torch.uint8 and pixels.ndim == 4 and pixels.shape[1] == 3,
            f"{name}.transform: a picture becomes (crops 3 height width) uint8, not "
            f"{tuple(pixels.shape)} {pixels.dtype}",
        )
        promise(
            torch.equal(pixels, encoder.transform(picture))
            and transform.grids(picture.size) == encoder.transform.grids(picture.size),
            f"{name}.transform: in a data worker it gives other pixels or grids",
        )


def _check_features(encoder: Encoder, images: Images) -> None:
    name = type(encoder).__qualname__
    features = _look(encoder, images)
    promise(
        features.values.ndim == 2 and features.values.shape[1] == encoder.dim,
        f"{name}: features are (tokens {encoder.dim}), not {tuple(features.values.shape)}",
    )
    promise(features.grids == images.grids, f"{name}: features have other grids than the images")
    promise(
        len(features.values) == sum(features.counts),
        f"{name}: its grids promise {sum(features.counts)} features for {len(images)} images, it "
        f"gave {len(features.values)}",
    )
    promise(bool(features.values.isfinite().all()), f"{name}: some features are not finite")


def _check_alone(encoder: Encoder, pictures: Sequence[Image.Image]) -> None:
    with torch.no_grad():
        together = _look(encoder, Images.of(list(pictures), encoder.transform)).values
        alone = [_look(encoder, Images.of([p], encoder.transform)).values for p in pictures]
    close(
        torch.cat(alone),
        together,
        f"{type(encoder).__qualname__}: features of each image alone, and of all in one batch",
    )


def _check_dark(encoder: Encoder) -> None:
    """What a batch without images sends through, and a picture with nothing on it."""
    black = Images.of([Image.new("RGB", (16, 16))], encoder.transform)
    for what, images in (("its blank()", encoder.blank()), ("a black picture", black)):
        with torch.no_grad():
            values = _look(encoder, images).values
        promise(
            bool(values.isfinite().all()),
            f"{type(encoder).__qualname__}: features of {what} are not finite",
        )
