"""`siglip`: of every picture and every text of the step, do they belong together?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field
from torch import nn

from isthmus import hookimpl
from isthmus.core.contracts import Loss, Preparer, Tools
from isthmus.core.data.matches import VECTORS, Matches, MatchPreparer
from isthmus.core.model.contrast import Everyone, Temperature
from isthmus.core.model.towers import TwoTowers, TwoTowersConfig


class SiglipLoss(TwoTowers, name="siglip"):
    """Sigmoid loss (Zhai et al. 2023, arXiv:2303.15343): the binary cross-entropy of each picture
    with every text, summed over them and over matches."""

    class Config(TwoTowersConfig):
        """Settings of `siglip`."""

        temperature: float = Field(default=0.1, gt=0)
        """What similarities are divided by, to begin with; it learns."""
        bias: float = -10.0
        """What is added to them then, to begin with: nearly all texts are wrong ones; it learns."""

    config: Config

    def make(self) -> None:
        self.scale = Temperature(1 / self.config.temperature)
        self.bias = nn.Parameter(torch.tensor([self.config.bias]))

    def preparer(self, tools: Tools) -> Preparer:
        return MatchPreparer(tools, "text_encoder")

    def forward(self, model: Any, batch: Matches) -> Loss:
        everyone = Everyone.of(batch.keys, batch.weight > 0)
        images, texts = map(everyone.mine, self.towers(model, batch.images, batch.text))
        all_images, all_texts = everyone.ranks.rows(images), everyone.ranks.rows(texts)
        with torch.autocast(images.device.type, enabled=False):
            scale = self.scale()
            lost, texts_found = everyone.sigmoid(scale * images @ all_texts.T + self.bias)
            backwards = everyone.masked((texts @ all_images.T).detach())
        batch.leave(VECTORS, (images.detach(), texts.detach()))
        found = {"image_to_text": texts_found, "text_to_image": everyone.hits(backwards)}
        return Loss(lost, batch.weight, found)


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(SiglipLoss)
