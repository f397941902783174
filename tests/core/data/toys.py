"""Small sources, pictures and preparers for the tests of this folder; picklable."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from isthmus.core.contracts import (
    Grid,
    ImageSlot,
    ImageTransform,
    Preparer,
    Sample,
    Source,
    Tools,
    Turn,
)
from isthmus.errors import ImageError, Unsupervised
from isthmus.plugins.templates.vicuna_v1 import VicunaV1
from tests.tokenizers import small_tokenizer


class ListSource(Source, name="toy_list"):
    def __init__(self, config: Source.Config, samples: Sequence[Sample]) -> None:
        self.config = config
        self.samples = list(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    @property
    def fingerprint(self) -> str:
        return ",".join(sample.id for sample in self.samples)


@dataclass(frozen=True)
class Rows(ImageTransform):
    """Pictures of 4 x 4 pixels; as many rows of features as the picture is wide in tens."""

    def __call__(self, image: Image.Image) -> torch.Tensor:
        pixels = torch.from_numpy(np.array(image.resize((4, 4)), dtype=np.uint8))
        return pixels.permute(2, 0, 1)[None]

    def grids(self, size: tuple[int, int]) -> tuple[Grid, ...]:
        return (Grid(max(1, size[0] // 10), 2),)


def places(grids) -> int:
    return sum(grid.num_features for grid in grids)


def photo(width: int = 20, colour: str = "red") -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, 10), colour).save(buffer, "PNG")
    return buffer.getvalue()


def tools(**fields) -> Tools:
    known = {
        "tokenizer": small_tokenizer(),
        "template": VicunaV1.Config(system="").build(),
        "transform": Rows(),
        "num_tokens": places,
    }
    return Tools(**known | fields)


def sample(id: str, answer: str = "A dog.", images: Sequence[bytes] = ()) -> Sample:
    asked = (*(ImageSlot(index) for index in range(len(images))), "What?")
    turns = (Turn("user", asked), Turn("assistant", (answer,)))
    return Sample(id, turns, tuple(images), f"toy.json, record {id}")


@dataclass(frozen=True)
class Counted:
    id: str
    num_tokens: int


@dataclass(frozen=True)
class IdBatch:
    samples: tuple[str, ...]
    num_tokens: int
    worker: int


class IdPreparer(Preparer):
    """Examples that are the sample's id, as long as its answer. `bad` and `empty` are the ids
    of samples that cannot be prepared."""

    def __init__(self, bad: Sequence[str] = (), empty: Sequence[str] = (), fatal: str = ""):
        self.bad, self.empty, self.fatal = set(bad), set(empty), fatal

    def length(self, sample: Sample) -> int:
        if sample.id in self.bad:
            raise ImageError(f"{sample.origin}: no picture")
        return len(sample.turns[-1].text)

    def prepare(self, sample: Sample) -> Counted:
        if sample.id == self.fatal:
            os._exit(7)
        if sample.id in self.empty:
            raise Unsupervised(f"{sample.origin}: nothing to learn")
        time.sleep(0.001 * (int(sample.id) % 3))
        return Counted(sample.id, self.length(sample))

    def collate(self, examples: Sequence[Counted]) -> IdBatch:
        tokens = sum(example.num_tokens for example in examples)
        return IdBatch(tuple(example.id for example in examples), tokens, os.getpid())


def numbered(count: int, weight: float = 1.0, first: int = 0) -> ListSource:
    """`count` samples, number i having an answer of i % 5 + 1 characters."""
    ids = range(first, first + count)
    samples = [sample(str(i), "x" * (i % 5 + 1)) for i in ids]
    return ListSource.Config(weight=weight).build(samples=samples)
