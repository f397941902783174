"""The kit catches encoders that break their promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus.core.contracts import Features, Grid, Images
from isthmus.core.model.transform import FitTransform
from isthmus.testing import ContractBroken, check_encoder
from tests.testing.honest_parts import Patches


class FewerThanPromised(Patches, name="fewer_than_promised"):
    def forward(self, images: Images) -> Features:
        found = super().forward(images)
        return Features(found.values[1:], found.grids)


class OtherWidth(Patches, name="other_width"):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.dim = 13


class LooksAtTheBatch(Patches, name="looks_at_the_batch"):
    def forward(self, images: Images) -> Features:
        found = super().forward(images)
        return Features(found.values - found.values.mean(0), found.grids)


class NeverUsed(Patches, name="never_used"):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.head = nn.Linear(2, 2)


class Moody(Patches, name="moody"):
    def forward(self, images: Images) -> Features:
        found = super().forward(images)
        return Features(found.values + torch.rand(()), found.grids)


class NotANumberInTheDark(Patches, name="not_a_number_in_the_dark"):
    def forward(self, images: Images) -> Features:
        found = super().forward(images)
        size = images.pixels.float().mean((1, 2, 3)).repeat_interleave(16)
        return Features(found.values * (size / size)[:, None], found.grids)


class OtherShape(Patches, name="other_shape"):
    def blueprint(self) -> Any:
        return type(self).Config(dim=self.dim + 1)


class NamesAFolder(Patches, name="names_a_folder"):
    class Config(Patches.Config):
        """Configuration of `names_a_folder`."""

        @property
        def pretrained(self) -> str | None:
            return "somewhere"


class Sideways(FitTransform):
    def __call__(self, image: Any) -> Tensor:
        return super().__call__(image)[:, :, :, 0]


class ThreeDimensions(Patches, name="three_dimensions"):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.transform = Sideways((32, 32), Grid(4, 4), "resize")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (FewerThanPromised, "grids promise 64 features for 4 images, it gave 63"),
        (OtherWidth, r"features are \(tokens 13\), not \(64, 12\)"),
        (LooksAtTheBatch, "each image alone, and of all in one batch"),
        (NeverUsed, "no gradient reaches head.weight, head.bias"),
        (Moody, "each image alone, and of all|run twice"),
        (NotANumberInTheDark, "features of a black picture are not finite"),
        (OtherShape, "a part built from it does not take the weights"),
        (NamesAFolder, "names no hub id and no folder"),
        (ThreeDimensions, r"becomes \(crops 3 height width\) uint8"),
    ],
)
def test_an_encoder_that_breaks_a_promise_is_caught(part: Any, message: str) -> None:
    with pytest.raises(ContractBroken, match=message):
        check_encoder(part.Config())
