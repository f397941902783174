"""A vision encoder: pixels in, features with their grid out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from PIL import Image
from torch import nn

from isthmus.core.contracts.part import Part, PartConfig
from isthmus.core.contracts.vision import Features, Images, ImageTransform


class Encoder(Part, nn.Module, ABC):
    """Looks at images. (crops 3 height width) uint8 -> (tokens dim)

    A subclass sets `dim`, the width of a feature, and `transform`, which prepares a picture
    in a data worker and promises its grids. It normalises pixels itself, on its device, and
    computes no layer above the one whose features it returns.
    """

    kind: ClassVar[str] = "encoder"
    dim: int
    transform: ImageTransform

    class Config(PartConfig):
        """Base of an encoder's configuration."""

        @property
        def maps(self) -> int:
            """Grids that every picture has: 1, or more where it is looked at in several ways.
            Known before a weight is loaded, for encoders that are built around others."""
            return 1

    config: Config

    @property
    def encoder_layers(self) -> Sequence[nn.Module]:
        """Its blocks, each of which runs once, by its `forward`: for recomputing, compiling and
        sharding. Without any, an encoder that learns is kept whole."""
        return ()

    @abstractmethod
    def forward(self, images: Images) -> Features:
        """Features of every image, end to end, as many as `transform.grids` promised."""

    def blank(self) -> Images:
        """One grey picture: what a batch without images sends through, so that every rank
        runs the same collectives (the result is multiplied by zero)."""
        return Images.of([Image.new("RGB", (32, 32), "grey")], self.transform)
