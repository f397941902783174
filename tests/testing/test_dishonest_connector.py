"""The kit catches connectors that break their promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus.core.contracts import Connector, ConnectorText, CrossAttentionConnector, Features
from isthmus.testing import ContractBroken, check_connector
from tests.testing.honest_parts import Gate, Project, Reader


class TooMany(Project, name="too_many"):
    class Config(Connector.Config):
        """Configuration of `too_many`."""

        def num_tokens(self, grids: Any) -> int:
            return 17


class MixesImages(Project, name="mixes_images"):
    def forward(self, features: Features) -> Tensor:
        return super().forward(Features(features.values.roll(1, 0), features.grids))


class HalfUsed(Project, name="half_used"):
    def __init__(self, config: Any, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.spare = nn.Parameter(torch.zeros(3))


class OpenGate(Gate, name="open_gate"):
    start = 0.5


class SeesEverything(Gate, name="sees_everything"):
    def mean(self, values: Tensor, seen: Tensor) -> Tensor:
        return values.mean((0, 1)).expand(*seen.shape[:-1], -1)


class SeesAhead(Gate, name="sees_ahead"):
    """Looks at every image of its own sample, also at those behind the token."""

    def mean(self, values: Tensor, seen: Tensor) -> Tensor:
        shown = torch.tensor([[1.0, 0.0]] * 6 + [[0.0, 1.0]] * 4)[-seen.shape[1] :]
        return shown[None, :, -len(values) :] @ values.mean(1)


class ReadsPadding(Reader, name="reads_padding"):
    def count(self, text: ConnectorText) -> Tensor:
        return text.mask.new_ones(text.mask.shape).sum(dim=1)


class OneLayout(Project, name="one_layout"):
    """Thinks of every image as 4 x 4 patches."""

    class Config(Connector.Config):
        """Configuration of `one_layout`."""

        def num_tokens(self, grids: Any) -> int:
            return 16


class AlwaysSingle(Project, name="always_single"):
    def forward(self, features: Features) -> Tensor:
        weight, bias = self.layer.weight.float(), self.layer.bias.float()
        return nn.functional.linear(features.values.float(), weight, bias)


class Mixed(Project, name="mixed"):
    def forward(self, features: Features) -> Tensor:
        return self.layer(features.values.float())


class AddsToAll(Gate, name="adds_to_all"):
    """Where there is no image, the blank one is added all the same."""

    def mean(self, values: Tensor, seen: Tensor) -> Tensor:
        if seen.any():
            return super().mean(values, seen)
        return values.mean((0, 1)).expand(*seen.shape[:-1], -1)


class ReadsHalf(Reader, name="reads_half"):
    """What is for text alone learns nothing where there is some."""

    def __init__(self, config: Any, dim_in: int, dim_out: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.other = nn.Linear(dim_in, dim_out)

    def forward(self, features: Features, text: ConnectorText | None = None) -> Tensor:
        seen = super().forward(features, text)
        return seen if text is not None else seen + self.other(features.values)


class TakesPlaces(Gate, name="takes_places"):
    class Config(CrossAttentionConnector.Config):
        """Configuration of `takes_places`."""

        def num_tokens(self, grids: Any) -> int:
            return 1


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (TooMany, r"promises \[17, 17, 17\] visual tokens, so forward must give \(51 32\)"),
        (MixesImages, "for each image alone, and in one batch"),
        (HalfUsed, "no gradient reaches spare"),
        (OpenGate, "the same to the last bit"),
        (SeesEverything, "a sample in a pack, and alone"),
        (ReadsPadding, "for each image and its text, alone, and in one batch"),
        (SeesAhead, "tokens before an image, whatever the image shows"),
        (OneLayout, r"promises \[16, 16, 16, 16\] visual tokens"),
        (AlwaysSingle, r"stored in torch.float64, .* it gives torch.float32"),
        (Mixed, "stored in torch.float64 it does not run"),
        (AddsToAll, "tokens that see no image, whatever an image shows"),
        (ReadsHalf, "no gradient reaches other.weight"),
        (TakesPlaces, "num_tokens must be 0"),
    ],
)
def test_a_connector_that_breaks_a_promise_is_caught(part: Any, message: str) -> None:
    with pytest.raises(ContractBroken, match=message):
        check_connector(part.Config())
