"""BERT as a text encoder, which may look at pictures: ALBEF's text model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import NonNegativeInt
from torch import Tensor

from isthmus import hookimpl
from isthmus.core.contracts import Place, TextEncoder
from isthmus.core.model.bert import Bert, BertShape
from isthmus.core.model.bert_config import BASE, BertConfig, sizes_of
from isthmus.core.model.bert_reader import BertReader
from isthmus.core.model.bert_weights import fill
from isthmus.core.model.draw import draw_scaled
from isthmus.core.model.match_reader import ReadsMatches
from isthmus.core.model.pretrained import label
from isthmus.core.model.tokenizer import Texts, at_most, choose_tokenizer
from isthmus.errors import PartError


class BertText(TextEncoder, BertReader, name="bert"):
    """BERT (Devlin et al. 2018, arXiv:1810.04805), in both directions or causal, with
    cross-attention to a picture where it is asked for (ALBEF, Li et al. 2021, arXiv:2107.07651);
    a whole text is its first token. (texts tokens) -> (texts tokens dim)"""

    class Config(BertConfig, TextEncoder.Config, ReadsMatches):
        """Configuration of `bert`."""

        cross: bool = False
        """Let blocks look at the picture, too, where an objective shows it one. BERT has no weights
        for that: they are drawn."""
        alone: NonNegativeInt = 0
        """Blocks from the bottom that do not look, and by which a text without a picture is read:
        in ALBEF, 6 of 12. At 0 all look, and all read."""

        @property
        def reads(self) -> bool:
            return self.cross

        @property
        def all_pretrained(self) -> bool:
            return self.model is not None and not self.cross

        def check(self) -> Iterator[tuple[Place, str]]:
            yield from super().check()
            layers = self.layers or BASE["layers"]
            if self.alone and not self.cross:
                yield ("alone",), "no block looks at pictures; write `cross: true`, or leave it out"
            elif self.alone >= layers and self.model is None:
                yield ("alone",), f"of {layers} blocks none would look; write fewer"

    config: Config

    def __init__(
        self,
        config: Config,
        visual_dim: int | None = None,
        tokenizer_object: Any = None,
        texts: Texts | None = None,
    ) -> None:
        super().__init__()
        self.config, self.visual_dim = config, visual_dim
        if config.cross and visual_dim is None:
            raise PartError(
                f"{label(config)}: cross: there is no encoder that it could look at; write `cross: "
                "false`, or give the model an `encoder`"
            )
        if tokenizer_object is None:
            tokenizer_object = choose_tokenizer(config, config.tokenizer, config.model, texts)
        sizes = sizes_of(config)
        self.tokenizer = at_most(tokenizer_object, sizes["positions"])
        sizes["words"] = max(sizes["words"], len(self.tokenizer))
        if config.alone >= sizes["layers"]:
            raise PartError(f"{label(config)}: alone: of {sizes['layers']} blocks none would look")
        looks = visual_dim if config.cross else None
        dropout, alone = config.dropout, config.alone
        self.bert = Bert(BertShape(**sizes, visual_dim=looks, dropout=dropout, alone=alone))
        self.dim = self.pooled_dim = sizes["dim"]
        draw_scaled(self)
        fill(config, self.bert)

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        visual: Tensor | None = None,
        visual_mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        hidden: Tensor = self.bert(ids, mask, visual, visual_mask, causal)
        return hidden

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self(ids, mask)[:, 0]

    def blueprint(self) -> Config:
        return self.config.model_copy(update=self.config.written_out(self.bert.shape))


@hookimpl
def register_text_encoders(register: Callable[[type], None]) -> None:
    register(BertText)
