"""What flows between an image file and a connector: transform, pixels, features and their grid."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Protocol

import torch
from PIL import Image
from torch import Tensor

from isthmus.core.contracts.transfer import send


@dataclass(frozen=True)
class Grid:
    """The layout of one run of visual features, known before any pixel is computed.

    `prefix` counts what stands before the patches (class and register tokens), `frames` is
    over 1 for video, and `newline` asks the connector to end every row of `width` patches
    with a learned token (LLaVA-NeXT). `tiles` are the rows and columns of crops whose maps were
    put together to this one.
    """

    height: int
    width: int
    prefix: int = 0
    frames: int = 1
    newline: bool = False
    tiles: tuple[int, int] = (1, 1)

    @property
    def num_features(self) -> int:
        """Rows of `Features.values` that this grid stands for; newlines are not among them."""
        return self.frames * (self.prefix + self.height * self.width)

    @property
    def num_newlines(self) -> int:
        """Rows that the connector is asked to end with a token of its own."""
        return self.frames * self.height if self.newline else 0


Grids = tuple[Grid, ...]
"""The grids of one image, in order: one for a plain encoder, several for tiles."""


class ImageTransform(ABC):
    """Turns a picture into what the encoder looks at. Light and picklable: it goes to workers."""

    draws: ClassVar[bool] = False
    """Whether it draws at random: the same picture may then come out differently."""

    @abstractmethod
    def __call__(self, image: Image.Image) -> Tensor:
        """RGB picture -> (crops 3 height width) uint8; the encoder normalises on its device."""

    @abstractmethod
    def grids(self, size: tuple[int, int]) -> Grids:
        """The grids of a picture of `size` (width, height), read off its header alone."""

    @property
    def frame(self) -> tuple[int, int] | None:
        """(height, width) that every picture is brought to; None where it follows from the
        picture."""
        return None

    def squashed(self) -> ImageTransform:
        """The same for pictures that somebody cuts to the frame: one of its size comes out as it
        is, and any other is squashed into it. One without a frame stays as it is."""
        return self


@dataclass(frozen=True)
class Images:
    """A batch of images as a transform made them.

    `pixels` (crops 3 height width) uint8; `crops[i]` of them belong to image i, and
    `grids[i]` is its layout. Equal `keys` stand for equal images; there are none where nobody
    compared them. An image without crops was looked at before: `known` (tokens dim) has the
    features of all such images, end to end. An encoder never gets to see these.
    """

    pixels: Tensor
    crops: tuple[int, ...]
    grids: tuple[Grids, ...]
    keys: tuple[str, ...] = ()
    known: Tensor | None = None

    def __len__(self) -> int:
        return len(self.crops)

    def to(self, device: torch.device) -> Images:
        known = None if self.known is None else send(self.known, device)
        return replace(self, pixels=send(self.pixels, device), known=known)

    def take(self, indices: Sequence[int]) -> Images:
        """The images of these numbers alone, in this order; at least one, all with crops."""
        runs = torch.split(self.pixels, list(self.crops))
        return Images(
            pixels=torch.cat([runs[index] for index in indices]),
            crops=tuple(self.crops[index] for index in indices),
            grids=tuple(self.grids[index] for index in indices),
        )

    @staticmethod
    def of(pictures: list[Image.Image], transform: ImageTransform) -> Images:
        """The batch of these RGB pictures; at least one."""
        pixels = [transform(picture) for picture in pictures]
        return Images(
            pixels=torch.cat(pixels),
            crops=tuple(len(crop) for crop in pixels),
            grids=tuple(transform.grids(picture.size) for picture in pictures),
        )

    @staticmethod
    def joined(batches: Sequence[Images]) -> Images:
        """These batches as one, in order; at least one. All have keys, or the batch has none."""
        if len(batches) == 1:
            return batches[0]
        pixels = [batch.pixels for batch in batches if len(batch.pixels)]
        known = [batch.known for batch in batches if batch.known is not None]
        return Images(
            pixels=torch.cat(pixels) if pixels else batches[0].pixels,
            crops=tuple(count for batch in batches for count in batch.crops),
            grids=tuple(grids for batch in batches for grids in batch.grids),
            keys=tuple(key for batch in batches for key in batch.keys),
            known=torch.cat(known) if known else None,
        )


@dataclass(frozen=True)
class Features:
    """What an encoder saw, images end to end.

    `values` (tokens dim); image i owns `counts[i]` consecutive rows, laid out by `grids[i]`.
    """

    values: Tensor
    grids: tuple[Grids, ...]

    @cached_property
    def counts(self) -> tuple[int, ...]:
        return tuple(sum(grid.num_features for grid in grids) for grids in self.grids)

    def runs(self) -> tuple[Tensor, ...]:
        """(tokens dim) of every image by itself."""
        return torch.split(self.values, list(self.counts))

    def padded(self) -> tuple[Tensor, Tensor]:
        """(images tokens dim) and its mask (images tokens), True where a feature is real."""
        values = torch.nn.utils.rnn.pad_sequence(list(self.runs()), batch_first=True)
        counts = torch.tensor(self.counts, device=values.device)
        mask = torch.arange(values.shape[1], device=values.device)[None] < counts[:, None]
        return values, mask


class FeatureStore(Protocol):
    """Features of a frozen encoder, kept by what the image is. Picklable: data workers read it,
    and what training had to compute it adds."""

    def get(self, key: str) -> Tensor | None:
        """(tokens dim) of an image, on the host; None where they are not kept."""
        ...

    def put(self, features: Mapping[str, Tensor]) -> None:
        """Key -> (tokens dim), what one call of the encoder gave."""
        ...


@dataclass(frozen=True)
class CrossAttentionStates:
    """What a cross-attention connector gives an LLM to look at, instead of visual tokens.

    `values` (images tokens dim), `mask` (images tokens) True where a state is real.
    """

    values: Tensor
    mask: Tensor
