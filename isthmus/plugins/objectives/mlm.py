"""`mlm`: find words that were hidden, from those around them and the picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from isthmus import hookimpl
from isthmus.core.contracts import ConnectorText, Loss, Preparer, Tools
from isthmus.core.data.matches import EVERYONE, Matches, MatchPreparer, edges
from isthmus.core.model.blocks import idle
from isthmus.core.model.contrast import Everyone
from isthmus.core.model.match_reader import MatchesConfig, picture, reader_of
from isthmus.core.model.mining import uniform
from isthmus.core.model.momentum import COPIES, AsksCopies, Copies
from isthmus.core.model.word_head import WordHead

HIDDEN, OTHER = 0.8, 0.9
"""Of the words asked for, the share that is hidden, and up to here another word stands there; the
rest is as it was (BERT, Devlin et al. 2018, arXiv:1810.04805)."""


class MaskedLanguageModelling(AsksCopies, name="mlm"):
    """Masked language modelling beside a picture (ALBEF, Li et al. 2021, arXiv:2107.07651):
    cross-entropy of the words asked for, summed; its weight is their number.

    Of every text a `share` of the words is asked for, at least one. Which, and what stands in their
    place, follows from the sample and one number a step: behind `itc` or `itm` that of the first
    process, alone each process's own; in validation it is always the same. Where the tokenizer has
    no [MASK], the padding hides words, which is read nowhere else.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"encoder"})

    class Config(MatchesConfig):
        """Settings of `mlm`."""

        share: float = Field(default=0.15, gt=0, le=1)
        """Share of a text's words that is asked for."""

    config: Config

    def join(self, model: Any) -> None:
        self.reader, reader = reader_of(model)
        tokenizer = reader.tokenizer
        mask = tokenizer.mask_token_id
        self.mask: int = tokenizer.pad_token_id if mask is None else mask
        self.around = [edge is not None for edge in edges(tokenizer)]
        self.tokens = len(tokenizer)
        self.head = WordHead.over(reader)

    def preparer(self, tools: Tools) -> Preparer:
        return MatchPreparer(tools, self.reader)

    def weights(self, batch: Matches) -> tuple[float, ...]:
        return (float(sum(self._counts(batch))) if batch.weight else 0.0,)

    def forward(self, model: Any, batch: Matches) -> Loss:
        text, asked = self.hide(batch)
        targets = batch.text.ids[asked]
        logs = self.logits(model, batch, text, asked).log_softmax(dim=-1)
        lost = functional.nll_loss(logs, targets, reduction="sum")
        copies: Copies | None = batch.left(COPIES)
        if copies is not None:
            with torch.no_grad():
                head = copies.heads[self.name]
                likely = head.logits(copies.model, copies.batch, text, asked).softmax(dim=-1)
            lost = (1 - copies.share) * lost - copies.share * (likely * logs).sum()
        hits = (logs.argmax(dim=-1) == targets).float().sum()
        lost = lost.reshape(()) + idle(*reader_of(model)[1].beside)
        return Loss(lost, self.weights(batch)[0], {"token_accuracy": hits})

    def logits(self, model: Any, batch: Matches, text: ConnectorText, asked: Tensor) -> Tensor:
        """Of the words that are asked for, (matches tokens) bool. -> (asked words) fp32"""
        reader = reader_of(model)[1]
        _, hidden = reader.look_and_read(picture(model, batch), text)
        found: Tensor = self.head(hidden[asked], reader.words)
        return found.float()

    def hide(self, batch: Matches) -> tuple[ConnectorText, Tensor]:
        """The texts with words hidden, and which are asked for, (matches tokens) bool."""
        ids, device = batch.text.ids, batch.keys.device
        salt = torch.zeros((), dtype=torch.long, device=device)
        if self.training:
            salt = torch.randint(2**62, (), dtype=torch.long).to(device)
            everyone: Everyone | None = batch.left(EVERYONE)
            if everyone is not None:  # else nobody waits for the other processes
                salt = everyone.ranks.first(salt)
        tokens = ids.shape[1]
        at = torch.arange(tokens, device=device)
        # Of every place its order, what becomes of it, and another word: whatever the padding.
        order, what, other = (uniform(batch.keys[:, 2], 3 * at + n, salt) for n in range(3))
        last = torch.tensor(batch.lengths, device=device)[:, None] - int(self.around[1])
        words = (at >= int(self.around[0])) & (at < last)
        rank = order.masked_fill(~words, 2.0).argsort(dim=1).argsort(dim=1)
        asked = words & (rank < torch.tensor(self._counts(batch), device=device)[:, None])
        hidden = torch.where(what < HIDDEN, self.mask, ids)
        spoilt = (what >= HIDDEN) & (what < OTHER)
        hidden = torch.where(spoilt, (other * self.tokens).long(), hidden)
        return ConnectorText(torch.where(asked, hidden, ids), batch.text.mask), asked

    def _counts(self, batch: Matches) -> list[int]:
        """How many words of each text are asked for."""
        words = [length - sum(self.around) for length in batch.lengths]
        return [min(count, max(1, round(self.config.share * count))) for count in words]


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(MaskedLanguageModelling)
