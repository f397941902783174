"""`clip`: pictures and texts of one match nearer to each other than to all others of the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field

from isthmus import hookimpl
from isthmus.core.contracts import Loss, Preparer, Tools
from isthmus.core.data.matches import VECTORS, Matches, MatchPreparer
from isthmus.core.model.contrast import Everyone, Temperature
from isthmus.core.model.towers import TwoTowers, TwoTowersConfig


class ClipLoss(TwoTowers, name="clip"):
    """Symmetric contrastive loss (Radford et al. 2021, arXiv:2103.00020): the cross-entropy of each
    picture among all texts, and of each text among all pictures, halved; summed over matches."""

    class Config(TwoTowersConfig):
        """Settings of `clip`."""

        temperature: float = Field(default=0.07, gt=0)
        """What similarities are divided by, to begin with; it learns."""
        sharpest: float = Field(default=0.01, gt=0)
        """The least that it may come to."""

    config: Config

    def make(self) -> None:
        self.scale = Temperature(1 / self.config.temperature, 1 / self.config.sharpest)

    def after_step(self, model: Any) -> None:
        self.scale.keep()

    def preparer(self, tools: Tools) -> Preparer:
        return MatchPreparer(tools, "text_encoder")

    def forward(self, model: Any, batch: Matches) -> Loss:
        everyone = Everyone.of(batch.keys, batch.weight > 0)
        images, texts = map(everyone.mine, self.towers(model, batch.images, batch.text))
        all_images, all_texts = everyone.ranks.rows(images), everyone.ranks.rows(texts)
        with torch.autocast(images.device.type, enabled=False):
            scale = self.scale()
            to_text, texts_found = everyone.cross_entropy(scale * images @ all_texts.T)
            to_image, images_found = everyone.cross_entropy(scale * texts @ all_images.T)
        batch.leave(VECTORS, (images.detach(), texts.detach()))
        found = {"image_to_text": texts_found, "text_to_image": images_found}
        return Loss((to_text + to_image) / 2, batch.weight, found)


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(ClipLoss)
