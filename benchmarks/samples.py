"""The workload's samples as tensors, the same for everyone: ids, labels and pixels.

Nobody tokenises or decodes anything while the clock runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.models import Preset
from benchmarks.workload import Shape, shapes
from isthmus.core.contracts import (
    FeatureStore,
    Grid,
    Images,
    ImageTransform,
    Pack,
    Preparer,
    Sample,
    Source,
)
from isthmus.core.data.pack import Encoded, collate
from isthmus.core.data.view import View
from isthmus.core.model.transform import normalise
from isthmus.plugins.encoders.clip import Clip


@dataclass(frozen=True)
class Drawn:
    """One sample: `ids` and `labels` (tokens), IGNORE where nothing is learnt; `pixels`
    (1 3 height width) uint8 of its picture, whose visual tokens come first."""

    ids: Tensor
    labels: Tensor
    visual: int
    pixels: Tensor | None


def draw(preset: Preset) -> list[Drawn]:
    """A step's samples."""
    generator = torch.Generator().manual_seed(0)
    drawn = shapes(preset.samples, visual=preset.visual)
    return [_draw(shape, preset, generator) for shape in drawn]


def _draw(shape: Shape, preset: Preset, generator: torch.Generator) -> Drawn:
    ids = torch.randint(5, preset.placeholder, (shape.length,), generator=generator)
    ids[: shape.visual] = preset.placeholder
    labels = torch.where(torch.arange(shape.length) < shape.length - shape.answer, -100, ids)
    side = preset.vision["image_size"]
    size = (1, 3, side, side)
    pixels = torch.randint(256, size, generator=generator, dtype=torch.uint8)
    return Drawn(ids, labels, shape.visual, pixels if shape.images else None)


class DrawnSource(Source, name="drawn"):
    """Samples by number alone."""

    count: int

    def __init__(self, count: int) -> None:
        self.config = self.Config()
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return Sample(id=str(index), turns=())

    @property
    def fingerprint(self) -> str:
        return str(self.count)


class DrawnPreparer(Preparer):
    """Gives isthmus' loader the samples as they were drawn."""

    def __init__(self, drawn: Sequence[Drawn], side: int) -> None:
        self.examples = [_encoded(str(index), each, side) for index, each in enumerate(drawn)]

    def length(self, sample: Sample) -> int:
        return self.examples[int(sample.id)].num_tokens

    def prepare(self, sample: Sample) -> Encoded:
        return self.examples[int(sample.id)]

    def collate(self, examples: Sequence[Encoded]) -> Pack:
        return collate(examples)


class KeptPreparer(DrawnPreparer):
    """The same samples, with the features that a store keeps of their pictures for pixels, each
    read when its sample is due."""

    def __init__(
        self, drawn: Sequence[Drawn], side: int, store: FeatureStore, transform: ImageTransform
    ) -> None:
        super().__init__(drawn, side)
        self.store, self.transform = store, transform

    def prepare(self, sample: Sample) -> Encoded:
        example = super().prepare(sample)
        if example.images is None:
            return example
        features = self.store.get(sample.id)
        view = View(self.transform, example.images.grids[0], key=sample.id, features=features)
        return replace(example, images=view.images())


def _encoded(name: str, drawn: Drawn, side: int) -> Encoded:
    targets = torch.full_like(drawn.ids, Pack.IGNORE)
    targets[:-1] = drawn.labels[1:]
    images = None
    if drawn.pixels is not None:
        images = Images(drawn.pixels, crops=(1,), grids=((Grid(side, side),),))
    return Encoded(
        id=name,
        ids=drawn.ids,
        targets=targets,
        visual=torch.arange(drawn.visual),
        images=images,
        stands=(0,) if images else (),
    )


def rows(drawn: Sequence[Drawn]) -> list[dict[str, Any]]:
    """The samples as transformers takes them: pixels already normalised."""
    made = []
    for each in drawn:
        row: dict[str, Any] = {"input_ids": each.ids, "labels": each.labels}
        if each.pixels is not None:
            row["pixel_values"] = normalise(each.pixels, Clip.mean, Clip.std, torch.float32)
        made.append(row)
    return made


def padded(batch: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """A right-padded batch."""
    ids = [row["input_ids"] for row in batch]
    labels = [row["labels"] for row in batch]
    pad = torch.nn.utils.rnn.pad_sequence
    masks = [torch.ones_like(each) for each in ids]
    return {
        "input_ids": pad(ids, batch_first=True, padding_value=0),
        "labels": pad(labels, batch_first=True, padding_value=-100),
        "attention_mask": pad(masks, batch_first=True),
        **_pixels(batch),
    }


def flattened(batch: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """One sequence whose positions restart with every sample, and no mask: how
    transformers' DataCollatorWithFlattening lays them out."""
    ids = [row["input_ids"] for row in batch]
    labels = [row["labels"].clone() for row in batch]
    for each in labels:
        each[0] = -100
    return {
        "input_ids": torch.cat(ids)[None],
        "labels": torch.cat(labels)[None],
        "position_ids": torch.cat([torch.arange(len(each)) for each in ids])[None],
        **_pixels(batch),
    }


def _pixels(batch: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    pictures = [row["pixel_values"] for row in batch if "pixel_values" in row]
    return {"pixel_values": torch.cat(pictures)} if pictures else {}
