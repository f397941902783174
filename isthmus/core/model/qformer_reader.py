"""A connector that is a Q-Former, as objectives on matches run it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from isthmus.core.contracts import ConnectorText, Features
from isthmus.core.model.blocks import Picture, batched
from isthmus.core.model.match_reader import MatchReader
from isthmus.core.model.qformer import Kept, QFormer


class QFormerReader(MatchReader):
    """A picture is compared by each of the queries that looked at it, and every query votes."""

    qformer: QFormer
    projection: nn.Linear | None
    """What leads from the queries to an LLM."""

    @property
    def picture_dim(self) -> int:
        return self.qformer.shape.dim

    @property
    def text_dim(self) -> int:
        return self.qformer.shape.dim

    @property
    def words(self) -> nn.Embedding:
        words: Any = self.qformer.words
        return words

    @property
    def beside(self) -> tuple[nn.Module, ...]:
        return (self.projection,) if self.projection is not None else ()

    def look(self, features: Features) -> tuple[Tensor, Kept]:
        kept = Kept()
        return self.qformer.look(batched(features), kept), kept

    def read(self, text: ConnectorText) -> Tensor:
        return self.qformer.read(text)

    def look_and_read(self, picture: Picture, text: ConnectorText) -> tuple[Tensor, Tensor]:
        return self.qformer.look_and_read(picture, text)

    def write(self, picture: Picture, kept: Kept, text: ConnectorText) -> Tensor:
        # It looks through the queries alone. What was kept serves others after it.
        return self.qformer.write(text, Kept(list(kept.blocks), kept.real, kept.tokens))
