"""`itg`: write the text of a picture word by word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import Field
from torch.nn import functional

from isthmus import hookimpl
from isthmus.core.contracts import ConnectorText, Loss, Objective, Preparer, Tools
from isthmus.core.data.matches import Matches, MatchPreparer, shared
from isthmus.core.model.blocks import idle
from isthmus.core.model.match_reader import MatchesConfig, looked, picture, reader_of
from isthmus.core.model.word_head import WordHead
from isthmus.errors import PartError


class ImageTextGeneration(Objective, name="itg"):
    """Image-grounded text generation: cross-entropy of every next token, summed; its weight is
    their number.

    A token sees itself and what stands before it, and the picture: BLIP's decoder (Li et al. 2022,
    arXiv:2201.12086) through its layers, a Q-Former (BLIP-2, Li et al. 2023, arXiv:2301.12597) only
    through what the queries have seen. Where the tokenizer has a token that texts begin with
    besides BERT's [CLS] (BLIP's [DEC]), the text that is written begins with that one.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})

    class Config(MatchesConfig):
        """Settings of `itg`."""

        smoothing: float = Field(default=0.0, ge=0, lt=1)
        """Share of every target that is spread evenly over all words; BLIP has 0.1."""

    config: Config

    def join(self, model: Any) -> None:
        self.reader, reader = reader_of(model)
        start = reader.tokenizer.bos_token_id
        self.start = reader.tokenizer.cls_token_id if start is None else start
        if self.start is None:
            raise PartError(
                "objective itg: what is written needs a token to begin with, and the tokenizer of "
                f"the {self.reader} has neither a start token (bos) nor a [CLS]; take another one"
            )
        self.head = None if reader.has_head else WordHead.over(reader)

    def preparer(self, tools: Tools) -> Preparer:
        return MatchPreparer(tools, self.reader)

    def weights(self, batch: Matches) -> tuple[float, ...]:
        # Every token but the first is asked for; a batch that does not count has none.
        return (batch.num_words - len(batch.samples) if batch.weight else 0.0,)

    def forward(self, model: Any, batch: Matches) -> Loss:
        reader, batch = reader_of(model)[1], shared(batch)
        seen, kept = looked(model, batch)
        ids = batch.text.ids.clone()
        ids[:, 0] = self.start
        text = ConnectorText(ids, batch.text.mask)
        written = reader.write(picture(model, batch), kept, text)
        asked = batch.text.mask[:, 1:]
        rows, targets = written[:, :-1][asked], batch.text.ids[:, 1:][asked]
        logits = self.head(rows, reader.words) if self.head else reader.says(rows)
        lost = functional.cross_entropy(
            logits.float(), targets, reduction="sum", label_smoothing=self.config.smoothing
        )
        # What pictures are compared by is nobody's here, but its last layers must have a gradient.
        lost = lost + 0.0 * seen.sum() + idle(*reader.beside)
        hits = (logits.argmax(dim=-1) == targets).float().sum()
        return Loss(lost, self.weights(batch)[0], {"token_accuracy": hits})


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(ImageTextGeneration)
