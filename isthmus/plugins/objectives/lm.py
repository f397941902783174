"""`lm`: learn the next token of the answers. What LLaVA's two stages train on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import PositiveInt

from isthmus import hookimpl
from isthmus.core.contracts import Loss, Objective, Pack, Pairs, Preparer, Tools
from isthmus.core.data.preparers import next_token_preparer
from isthmus.core.model.next_token import next_token_loss


class LanguageModelling(Objective, name="lm"):
    """Cross-entropy of the supervised tokens, summed; its weight is their number.

    An encoder-decoder learns every answer from all that comes before it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"llm"})

    class Config(Objective.Config):
        """Settings of `lm`."""

        rows: PositiveInt = 4096
        """Supervised tokens whose logits are in memory at once. 4,096 of a vocabulary of
        32,000 take half a GiB."""

    config: Config

    def preparer(self, tools: Tools) -> Preparer:
        return next_token_preparer(tools)

    def forward(self, model: Any, batch: Pack | Pairs) -> Loss:
        return next_token_loss(model, batch, self.config.rows)


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(LanguageModelling)
