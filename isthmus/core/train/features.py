"""The features of a frozen encoder, kept on disk for a stage: when that may be, and of what.

A feature is a function of the picture's bytes, the transform, the encoder's weights and code, and
the arithmetic. The picture is the key; all the rest is in the name of the encoder's own folder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image

from isthmus.core.checkpoint import weights_hash
from isthmus.core.checkpoint.provenance import versions
from isthmus.core.contracts import Config, Encoder, ImageTransform, dump_part
from isthmus.core.data.feature_store import DiskFeatures
from isthmus.core.model.vlm import VisionLanguageModel, learns
from isthmus.core.train.config import RunConfig
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.session import Session
from isthmus.errors import PartError
from isthmus.registry import get_registry

LIBRARIES = ("isthmus", "torch", "transformers", "timm")
"""Whose code features are computed with."""

TRIES = 8
"""How often each picture is transformed to see whether chance has a part in it: one that is
flipped or not is taken for steady once in two million times."""


def check_transform(settings: RunConfig, model: VisionLanguageModel) -> None:
    """Refuse to keep features of pictures that come out differently every time."""
    kept = [index for index, stage in enumerate(settings.stages) if stage.features]
    if not kept or model.encoder is None:
        return
    transform = model.encoder.transform
    if transform.draws or len({_outcome(transform) for _ in range(TRIES)}) > 1:
        raise PartError(
            f"stages[{kept[0]}].features: the transform of encoder {model.encoder.name!r} draws at "
            "random, so that a picture has no features of its own to keep; leave it out"
        )


def open_store(session: Session, stage: OpenStage) -> DiskFeatures | None:
    """What is kept of the encoder that this stage leaves frozen; None where it keeps nothing."""
    wanted, encoder = stage.config.features, session.model.encoder
    if wanted is None or encoder is None:
        return None
    if learns(encoder):
        raise PartError(
            f"stages[{stage.index}].features: the encoder learns in this stage; leave it out"
        )
    tuners = [dump_part(config) for config in session.history.added.get("encoder", ())]
    bf16 = session.settings.precision == "bf16"
    arithmetic = [session.parallel.device.type, bf16, torch.get_float32_matmul_precision()]
    space = space_of(encoder, tuners, arithmetic)
    return DiskFeatures(wanted.cache, space, int(wanted.max_gib * 2**30))


def space_of(encoder: Encoder, tuners: list[dict[str, Any]], arithmetic: list[Any]) -> str:
    """The name under which features of this encoder are kept: other weights, another layer,
    transform, precision or version of a library, another name."""
    names = _encoders(encoder.config)
    made = [e.version for e in get_registry().entries() if e.kind == "encoder" and e.name in names]
    said = {
        "encoder": dump_part(encoder.blueprint()),
        "tuners": tuners,
        "weights": weights_hash(encoder),
        "transform": [_described(encoder.transform), _outcome(encoder.transform)],
        "arithmetic": arithmetic,
        "versions": [made, PIL.__version__, *(versions()[name] for name in LIBRARIES)],
    }
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return f"{encoder.name}-{digest[:32]}"


def kept_notes(store: DiskFeatures | None) -> tuple[str, ...]:
    """What became of the features of a stage, for its end."""
    if store is None:
        return ()
    added = f"{store.added:,} images added to {store.folder}" if store.added else ""
    return tuple(f"features: {note}" for note in (added, store.stopped) if note)


def _encoders(config: Any) -> set[str]:
    """Names of an encoder and of all that it is built around, whoever wrote them."""
    inner = [config.owner.name] if isinstance(config, Encoder.Config) else []
    settings = dict(config).values() if isinstance(config, Config) else config
    holds = isinstance(config, Config | list | tuple)
    found = [name for each in settings for name in _encoders(each)] if holds else []
    return {*inner, *found}


def _described(transform: ImageTransform) -> str:
    fields = repr(transform) if is_dataclass(transform) else repr(sorted(vars(transform).items()))
    if " at 0x" in fields:
        raise PartError(
            f"features: {type(transform).__qualname__} does not say what its settings are, so that "
            "features could not be told apart by them; make it, and what it holds, a dataclass"
        )
    return f"{type(transform).__module__}.{type(transform).__qualname__} {fields}"


def _outcome(transform: ImageTransform) -> str:
    """What the transform makes of pictures of noise, wide, high and large, as a hash."""
    digest = hashlib.sha256()
    noise = np.random.default_rng(0)
    for width, height in ((64, 48), (30, 90), (400, 300)):
        pixels = noise.integers(256, size=(height, width, 3), dtype=np.uint8)
        seen = transform(Image.fromarray(pixels))
        digest.update(repr((seen.shape, transform.grids((width, height)))).encode())
        digest.update(seen.contiguous().numpy().tobytes())
    return digest.hexdigest()
