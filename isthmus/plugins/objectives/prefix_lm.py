"""`prefix_lm`: learn to go on with a text from a picture and its beginning (SimVLM)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field, PositiveInt

from isthmus import hookimpl
from isthmus.core.contracts import (
    LLM,
    Loss,
    Objective,
    Pack,
    Pairs,
    PartConfig,
    Preparer,
    Sample,
    Tools,
)
from isthmus.core.data.preparers import next_token_preparer
from isthmus.core.model.next_token import next_token_loss


class PrefixLanguageModelling(Objective, name="prefix_lm"):
    """A share of the first answer joins the prefix, which sees all of itself; the rest is learnt
    token by token (SimVLM, arXiv:2108.10904).

    For an LLM that looks both ways over a prefix, or an encoder-decoder, whose encoder reads it.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"llm"})

    class Config(Objective.Config):
        """Settings of `prefix_lm`."""

        share: float | None = Field(default=None, ge=0, lt=1)
        """Share of the first answer's tokens that joins the prefix. Absent, it is drawn evenly
        between none and all but one, by the sample's id: the same in every epoch and run."""
        rows: PositiveInt = 4096
        """Supervised tokens whose logits are in memory at once."""

        def objections(self, parts: Mapping[str, PartConfig]) -> Iterator[str]:
            llm = parts.get("llm")
            if isinstance(llm, LLM.Config) and not llm.sees_both_ways:
                yield (
                    f"'prefix_lm' is for an llm whose prefix sees all of itself, and "
                    f"{llm.owner.name!r} looks back alone; write `model.llm.attention: prefix`, "
                    "take an encoder-decoder, or the objective `lm`"
                )

    config: Config

    def preparer(self, tools: Tools) -> Preparer:
        return next_token_preparer(tools, _Share(self.config.share))

    def forward(self, model: Any, batch: Pack | Pairs) -> Loss:
        return next_token_loss(model, batch, self.config.rows)


@dataclass(frozen=True)
class _Share:
    """How much of a sample's first answer joins the prefix."""

    fixed: float | None

    def __call__(self, sample: Sample) -> float:
        if self.fixed is not None:
            return self.fixed
        digest = hashlib.sha256(sample.id.encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(PrefixLanguageModelling)
