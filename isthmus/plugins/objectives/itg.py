"""`itg`: write the text of a picture word by word, from what the queries have seen of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus import hookimpl
from isthmus.core.contracts import ConnectorText, Loss, Objective, PartConfig, Preparer, Tools
from isthmus.core.data.matches import Matches, MatchPreparer
from isthmus.core.model.draw import draw_scaled
from isthmus.core.model.qformer import EPS
from isthmus.core.model.qformer_matches import former_of, idle, looked, needs_text_branch
from isthmus.errors import PartError


class ImageTextGeneration(Objective, name="itg"):
    """Image-grounded text generation (BLIP-2, Li et al. 2023, arXiv:2301.12597): queries see each
    other and the picture; a token sees the queries, itself and what stands before it, and no
    picture. Cross-entropy of every next token, summed; its weight is their number.

    Where the tokenizer has a token that texts begin with besides BERT's [CLS] (BLIP-2's [DEC]), the
    text that is written begins with that one.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"encoder", "connector"})

    class Config(Objective.Config):
        """Settings of `itg`."""

        def objections(self, parts: Mapping[str, PartConfig]) -> Iterator[str]:
            yield from needs_text_branch("itg", parts)

    def join(self, model: Any) -> None:
        tokenizer = model.connector.tokenizer
        start = tokenizer.bos_token_id
        self.start = tokenizer.cls_token_id if start is None else start
        if self.start is None:
            raise PartError(
                "objective itg: what is written needs a token to begin with, and the connector's "
                "tokenizer has neither a start token (bos) nor a [CLS]; take another one"
            )
        former = former_of(model)
        self.head = WordHead(former.shape.dim, former.shape.words)
        draw_scaled(self)
        # Logits begin at about one, whether words are drawn large or come small from a BERT.
        words: Any = former.words
        scale = float(words.weight.detach().std()) * former.shape.dim**0.5
        nn.init.constant_(self.head.norm.weight, 1 / scale)

    def preparer(self, tools: Tools) -> Preparer:
        return MatchPreparer(tools, "connector")

    def weights(self, batch: Matches) -> tuple[float, ...]:
        # Every token but the first is asked for; a batch that does not count has none.
        return (batch.num_words - len(batch.samples) if batch.weight else 0.0,)

    def forward(self, model: Any, batch: Matches) -> Loss:
        queries, kept = looked(model, batch)
        ids = batch.text.ids.clone()
        ids[:, 0] = self.start
        written = former_of(model).write(ConnectorText(ids, batch.text.mask), kept)
        asked = batch.text.mask[:, 1:]
        logits = self.head(written[:, :-1][asked], former_of(model).words)
        targets = batch.text.ids[:, 1:][asked]
        lost = functional.cross_entropy(logits.float(), targets, reduction="sum")
        # What the queries come to is nobody's here, but their last layers must have a gradient.
        lost = lost + 0.0 * queries.sum() + idle(model)
        hits = (logits.argmax(dim=-1) == targets).float().sum()
        return Loss(lost, self.weights(batch)[0], {"token_accuracy": hits})


class WordHead(nn.Module):
    """BERT's head over words: a layer, and the word table, whose product is the logits."""

    def __init__(self, dim: int, words: int) -> None:
        super().__init__()
        self.layer = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, hidden: Tensor, words: Any) -> Tensor:
        """(rows dim) -> (rows words)"""
        rows = self.norm(functional.gelu(self.layer(hidden)))
        return functional.linear(rows, words.weight, self.bias)


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(ImageTextGeneration)
