"""Matches for tests: batches made by hand, and a model of towers with copied weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from isthmus.core.contracts import ConnectorText, Images, Sample, Turn
from isthmus.core.contracts.conversation import ImageSlot
from isthmus.core.data.matches import Matches
from isthmus.testing import tiny_pictures

CAPTIONS = ("A red dog.", "A green cat.", "A blue house, and nothing else.", "A red boat.")


def samples() -> list[Sample]:
    """One picture and its caption each."""
    return [
        Sample(
            str(number),
            (Turn("user", (ImageSlot(0), "\nWhat is it?")), Turn("assistant", (caption,))),
            (picture,),
            f"matches, record {number}",
        )
        for number, (picture, caption) in enumerate(zip(tiny_pictures(), CAPTIONS, strict=True))
    ]


def matches(images: Images, texts: list[list[int]], keys: Tensor | None = None) -> Matches:
    """A batch, all of whose pictures and texts differ where no `keys` say otherwise."""
    count = len(texts)
    if keys is None:
        keys = torch.arange(3 * count).reshape(3, count).T.contiguous()
    return Matches(
        images=images,
        text=ConnectorText.of(texts),
        keys=keys,
        samples=tuple(map(str, range(count))),
        num_tokens=sum(map(len, texts)),
        lengths=tuple(map(len, texts)),
        weight=float(count),
    )


def model_of(encoder: Any = None, text_encoder: Any = None, connector: Any = None) -> Any:
    """What an objective sees of a model."""
    return SimpleNamespace(
        encoder=encoder, text_encoder=text_encoder, connector=connector, encode=encoder
    )
