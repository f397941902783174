"""`itc`: ALBEF's contrastive loss; with a Q-Former BLIP-2's, of the query that fits best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from isthmus import hookimpl
from isthmus.core.contracts import Loss, Preparer, Tools
from isthmus.core.data.matches import EVERYONE, SIMILARITIES, VECTORS, Matches, MatchPreparer
from isthmus.core.model.blocks import idle
from isthmus.core.model.contrast import Everyone, Temperature, best, unit
from isthmus.core.model.draw import draw_scaled
from isthmus.core.model.match_reader import MatchesConfig, looked, reader_of
from isthmus.core.model.momentum import COPIES, AsksCopies, Copies
from isthmus.core.model.published_heads import fill_head

Vectors = tuple[Tensor, Tensor]
"""Of pictures, and of texts."""


class ImageTextContrast(AsksCopies, name="itc"):
    """Image-text contrast (ALBEF, Li et al. 2021, arXiv:2107.07651): a picture is as similar to a
    text as its class token, or mean, to the first token of the text read alone. With a Q-Former
    (BLIP-2, Li et al. 2023, arXiv:2301.12597) it is its best query that counts. The loss is
    `clip`'s on these similarities."""

    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})
    accumulates: ClassVar[bool] = False

    class Config(MatchesConfig):
        """Settings of `itc`."""

        model: str | None = None
        """Hub id or folder of a BLIP-2 or a BLIP that compares pictures and texts, whose two
        projections it begins with (`Salesforce/blip2-itm-vit-g`); absent, they are drawn."""
        dim: PositiveInt = 256
        """Width of the space in which pictures and texts are compared."""
        temperature: float = Field(default=0.07, gt=0)
        """What similarities are divided by, to begin with; it learns."""
        sharpest: float = Field(default=0.001, gt=0)
        """The least that it may come to."""

        @property
        def pretrained(self) -> str | None:
            return self.model

    config: Config

    def join(self, model: Any) -> None:
        self.reader, reader = reader_of(model)
        self.image = nn.Linear(reader.picture_dim, self.config.dim)
        self.text = nn.Linear(reader.text_dim, self.config.dim)
        draw_scaled(self)
        if self.config.model is not None:
            for kind, own in (("vision", self.image), ("text", self.text)):
                names = f"{kind}_projection", f"{kind}_proj"
                fill_head(self.config, self.config.model, names, own)
        self.scale = Temperature(1 / self.config.temperature, 1 / self.config.sharpest)

    def after_step(self, model: Any) -> None:
        self.scale.keep()

    @property
    def kept_dim(self) -> int | None:
        return self.config.dim

    def preparer(self, tools: Tools) -> Preparer:
        return MatchPreparer(tools, self.reader)

    def forward(self, model: Any, batch: Matches) -> Loss:
        everyone = batch.once(EVERYONE, lambda: Everyone.of(batch.keys, batch.weight > 0))
        mine, rows = everyone.mine, everyone.ranks.rows
        images, texts = map(mine, self.vectors(model, batch))
        copies: Copies | None = batch.left(COPIES)
        if copies is None:
            offered = rows(images), rows(texts)
            to_text, to_image, ways = self._compare(everyone, images, texts, offered)
        else:
            with torch.no_grad():
                own = copies.heads["itc"].vectors(copies.model, copies.batch)
                taught = mine(own[0]), mine(own[1])
                offered = rows(taught[0]), rows(taught[1])
            among, columns = everyone, offered
            if copies.queue is not None:
                queue = copies.queue
                among = everyone.beside(queue.keys, queue.real)
                kept = queue.images, queue.texts
                columns = torch.cat([offered[0], kept[0]]), torch.cat([offered[1], kept[1]])
                queue.add(*offered, everyone.keys)
            to_text, to_image, ways = self._compare(
                among, images, texts, columns, taught, copies.share
            )
        counted = len(everyone.keys)
        batch.leave(VECTORS, (images.detach(), texts.detach()))
        batch.leave(SIMILARITIES, tuple(way.detach()[:, :counted] for way in ways))
        lost = (to_text[0] + to_image[0]) / 2 + idle(*reader_of(model)[1].beside)
        found = {"image_to_text": to_text[1], "text_to_image": to_image[1]}
        return Loss(lost, batch.weight, found)

    def vectors(self, model: Any, batch: Matches) -> tuple[Tensor, Tensor]:
        """Pictures, (matches dim) or one for each query (matches queries dim), and texts (matches
        dim), of length one each."""
        seen, _ = looked(model, batch)
        read = reader_of(model)[1].read(batch.text)[:, 0]
        return unit(self.image(seen)), unit(self.text(read))

    def _compare(
        self,
        everyone: Everyone,
        images: Tensor,
        texts: Tensor,
        offered: Vectors,
        taught: Vectors | None = None,
        share: Tensor | None = None,
    ) -> tuple[Vectors, Vectors, Vectors]:
        """Own pictures with all texts offered, own texts with all pictures: the loss of each way
        and its hits, and both ways' logits. Where copies saw the own ones, too (`taught`), a
        `share` of the targets is what they find likely."""
        with torch.autocast(images.device.type, enabled=False):
            scale = self.scale()
            ways = scale * best(images, offered[1]), scale * best(offered[0], texts).T
            targets: list[Tensor | None] = [None, None]
            if taught is not None and share is not None:
                with torch.no_grad():
                    by_image = scale * best(taught[0], offered[1])
                    by_text = scale * best(offered[0], taught[1]).T
                    targets = [everyone.targets(way, share) for way in (by_image, by_text)]
            to_text = everyone.cross_entropy(ways[0], targets[0])
            to_image = everyone.cross_entropy(ways[1], targets[1])
        return to_text, to_image, ways


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(ImageTextContrast)
