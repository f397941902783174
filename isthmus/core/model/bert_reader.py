"""A part that is a BERT, as objectives on matches run it: BLIP's MED, ALBEF's text encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from isthmus.core.contracts import ConnectorText, Features
from isthmus.core.model.bert import Bert
from isthmus.core.model.blocks import Picture
from isthmus.core.model.match_reader import MatchReader, whole
from isthmus.errors import PartError

GROUNDED = "[ENC]"
"""What a text begins with that is read beside a picture (BLIP), where the tokenizer has it."""


class BertReader(MatchReader):
    """A picture is compared by its class token, or mean, and the text's first token votes."""

    bert: Bert

    @property
    def picture_dim(self) -> int:
        if self.bert.shape.visual_dim is None:
            raise PartError("this BERT was built without an encoder; there is nothing to compare")
        return self.bert.shape.visual_dim

    @property
    def text_dim(self) -> int:
        return self.bert.shape.dim

    @property
    def words(self) -> nn.Embedding:
        return self.bert.words

    def look(self, features: Features) -> tuple[Tensor, None]:
        return whole(features), None

    def read(self, text: ConnectorText) -> Tensor:
        read: Tensor = self.bert(text.ids, text.mask)
        return read

    def look_and_read(self, picture: Picture, text: ConnectorText) -> tuple[Tensor, Tensor]:
        ids = text.ids
        grounded = self.tokenizer.get_added_vocab().get(GROUNDED)
        if grounded is not None:
            ids = ids.clone()
            ids[:, 0] = grounded
        hidden = self.bert(ids, text.mask, *picture)
        return hidden[:, :1], hidden

    def write(self, picture: Picture, kept: Any, text: ConnectorText) -> Tensor:
        written: Tensor = self.bert(text.ids, text.mask, *picture, causal=True)
        return written
