"""`itc`: BLIP-2's contrastive loss, of the query that fits a text best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import nn

from isthmus import hookimpl
from isthmus.core.contracts import Loss, Objective, PartConfig, Preparer, Tools
from isthmus.core.data.matches import SIMILARITIES, VECTORS, Matches, MatchPreparer
from isthmus.core.model.contrast import Everyone, Temperature, best, unit
from isthmus.core.model.draw import draw_scaled
from isthmus.core.model.qformer_matches import former_of, idle, looked, needs_text_branch
from isthmus.core.model.qformer_weights import fill_head


class ImageTextContrast(Objective, name="itc"):
    """Image-text contrast (BLIP-2, Li et al. 2023, arXiv:2301.12597): queries look alone, the text
    is read alone, and a picture is as similar to a text as its best query to the text's first
    token. The loss is `clip`'s on these similarities."""

    needs: ClassVar[frozenset[str]] = frozenset({"encoder", "connector"})
    accumulates: ClassVar[bool] = False

    class Config(Objective.Config):
        """Settings of `itc`."""

        model: str | None = None
        """Hub id or folder of a BLIP-2 that compares pictures and texts, whose two projections it
        begins with (`Salesforce/blip2-itm-vit-g`); absent, they are drawn."""
        dim: PositiveInt = 256
        """Width of the space in which queries and texts are compared."""
        temperature: float = Field(default=0.07, gt=0)
        """What similarities are divided by, to begin with; it learns."""

        @property
        def pretrained(self) -> str | None:
            return self.model

        def objections(self, parts: Mapping[str, PartConfig]) -> Iterator[str]:
            yield from needs_text_branch("itc", parts)

    config: Config

    def join(self, model: Any) -> None:
        width = former_of(model).shape.dim
        self.image = nn.Linear(width, self.config.dim)
        self.text = nn.Linear(width, self.config.dim)
        draw_scaled(self)
        if self.config.model is not None:
            fill_head(self.config, self.config.model, "vision_projection", self.image)
            fill_head(self.config, self.config.model, "text_projection", self.text)
        self.scale = Temperature(1 / self.config.temperature)

    def preparer(self, tools: Tools) -> Preparer:
        return MatchPreparer(tools, "connector")

    def forward(self, model: Any, batch: Matches) -> Loss:
        everyone = batch.once("everyone", lambda: Everyone.of(batch.keys, batch.weight > 0))
        queries, _ = looked(model, batch)
        read = former_of(model).read(batch.text)[:, 0]
        images = everyone.mine(unit(self.image(queries)))
        texts = everyone.mine(unit(self.text(read)))
        all_images, all_texts = everyone.ranks.rows(images), everyone.ranks.rows(texts)
        with torch.autocast(images.device.type, enabled=False):
            scale = self.scale()
            by_image = scale * best(images, all_texts)
            by_text = scale * best(all_images, texts).T
            to_text, texts_found = everyone.cross_entropy(by_image)
            to_image, images_found = everyone.cross_entropy(by_text)
        batch.leave(VECTORS, (images.detach(), texts.detach()))
        batch.leave(SIMILARITIES, (by_image.detach(), by_text.detach()))
        lost = (to_text + to_image) / 2 + idle(model)
        found = {"image_to_text": texts_found, "text_to_image": images_found}
        return Loss(lost, batch.weight, found)


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(ImageTextContrast)
