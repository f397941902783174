"""`itm`: does this text belong to this picture? Asked of the right one and of hard wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus import hookimpl
from isthmus.core.contracts import ConnectorText, Loss, Matcher, Preparer, Tools
from isthmus.core.data.matches import EVERYONE, SIMILARITIES, Matches, MatchPreparer
from isthmus.core.model.blocks import Picture, idle
from isthmus.core.model.contrast import Everyone
from isthmus.core.model.draw import draw_scaled
from isthmus.core.model.match_reader import MatchesConfig, picture, reader_of
from isthmus.core.model.mining import draw, gumbel
from isthmus.core.model.published_heads import fill_head


class ImageTextMatching(Matcher, name="itm"):
    """Image-text matching (ALBEF, Li et al. 2021, arXiv:2107.07651): a text is read beside a
    picture, and its first token says whether the two belong together. With a Q-Former (BLIP-2, Li
    et al. 2023, arXiv:2301.12597) every query says it, and the mean of them is the answer.

    Every match is asked three times: as it is, with another text, with another picture. The wrong
    ones are drawn from the matches of all processes by the similarities of `itc`, where that stands
    before it in a `mix`, else evenly. Its loss is the mean of the three, summed over matches.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})
    accumulates: ClassVar[bool] = False
    follows: ClassVar[frozenset[str]] = frozenset({"itc"})

    class Config(MatchesConfig):
        """Settings of `itm`."""

        model: str | None = None
        """Hub id or folder of a BLIP-2 or a BLIP that compares pictures and texts, whose head it
        begins with (`Salesforce/blip2-itm-vit-g`); absent, it is drawn."""

        @property
        def pretrained(self) -> str | None:
            return self.model

    config: Config

    def join(self, model: Any) -> None:
        self.reader, reader = reader_of(model)
        self.head = nn.Linear(reader.text_dim, 2)
        draw_scaled(self)
        if self.config.model is not None:
            fill_head(self.config, self.config.model, ("itm_head",), self.head)

    def preparer(self, tools: Tools) -> Preparer:
        return MatchPreparer(tools, self.reader)

    def forward(self, model: Any, batch: Matches) -> Loss:
        everyone = batch.once(EVERYONE, lambda: Everyone.of(batch.keys, batch.weight > 0))
        text_of, picture_of, has = self._negatives(everyone, batch.left(SIMILARITIES))
        (values, mask), text = _gathered(picture(model, batch), batch.text, everyone)
        own = everyone.own
        shown = torch.cat([own, own, picture_of])
        told = torch.cat([own, text_of, own])
        logits = self.logits(
            model,
            (values[shown], None if mask is None else mask[shown]),
            ConnectorText(text.ids[told], text.mask[told]),
        )
        right = torch.zeros_like(shown)
        right[: len(own)] = 1
        lost = functional.cross_entropy(logits.float(), right, reduction="none")
        asked = torch.stack([torch.ones_like(has), has, has]).float()
        asked = asked / asked.sum(dim=0)
        hits = (logits.argmax(dim=1) == right).float()
        lost, hits = (rows.reshape(3, -1).mul(asked).sum() for rows in (lost, hits))
        return Loss(lost + idle(*reader_of(model)[1].beside), batch.weight, {"accuracy": hits})

    def belonging(self, model: Any, batch: Matches) -> Tensor:
        logits = self.logits(model, picture(model, batch), batch.text)
        return logits.float().softmax(dim=1)[:, 1]

    def logits(self, model: Any, seen: Picture, text: ConnectorText) -> Tensor:
        """A picture and a text each -> (rows 2): strangers, or belonging together."""
        votes, _ = reader_of(model)[1].look_and_read(seen, text)
        judged: Tensor = self.head(votes)
        return judged.mean(dim=1)

    def _negatives(
        self, everyone: Everyone, similarities: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(rows) each: whose text, whose picture, and whether there is anybody to take them of."""
        device = everyone.keys.device
        salt = torch.zeros((), dtype=torch.long, device=device)
        if self.training:
            drawn = torch.randint(2**62, (), dtype=torch.long)
            salt = everyone.ranks.first(drawn.to(device))
        keys = everyone.keys[:, 2]
        found = []
        for side in range(2):
            noise = gumbel(keys[everyone.own], keys, salt + side)
            logits = torch.zeros_like(noise) if similarities is None else similarities[side]
            found.append(draw(logits, everyone.others, noise))
        (texts, has), (pictures, _) = found
        return texts, pictures, has


def _gathered(
    seen: Picture, text: ConnectorText, everyone: Everyone
) -> tuple[Picture, ConnectorText]:
    """Pictures and texts of all matches."""
    values, mask = seen
    ranks = everyone.ranks
    if len(ranks.counts) == 1:
        return seen, text
    if mask is None:
        mask = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    mine = everyone.mine
    values, mask = ranks.longest(mine(values)), ranks.longest(mine(mask).byte()).bool()
    ids, real = ranks.longest(mine(text.ids)), ranks.longest(mine(text.mask).byte()).bool()
    return (values, mask), ConnectorText(ids, real)


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(ImageTextMatching)
