"""BLIP's MED: one BERT that reads a text, reads it beside a picture, and writes it from one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isthmus import hookimpl
from isthmus.core.contracts import (
    VISUAL_SEEN,
    VISUAL_STATES,
    CausalLLM,
    CrossAttentionStates,
    Segments,
)
from isthmus.core.model.bert import Bert, BertShape, Sight, Written
from isthmus.core.model.bert_config import BERT, BLIP, BertConfig, sizes_of
from isthmus.core.model.bert_reader import GROUNDED, BertReader
from isthmus.core.model.bert_weights import fill
from isthmus.core.model.draw import draw_scaled
from isthmus.core.model.layout import Layout
from isthmus.core.model.match_reader import ReadsMatches
from isthmus.core.model.pretrained import label
from isthmus.core.model.tokenizer import Texts, at_most, choose_tokenizer
from isthmus.core.model.word_head import WordHead
from isthmus.errors import InputError

WRITTEN = "[DEC]"
"""What a text begins with that is written, where the tokenizer has no token for that."""


class Med(CausalLLM, BertReader, name="med"):
    """Multimodal mixture of encoder and decoder (BLIP, Li et al. 2022, arXiv:2201.12086): a BERT
    whose blocks look at the picture's features themselves. (tokens dim) -> (tokens dim)

    Reading and writing share all weights but those of self-attention. There is no connector; every
    token sees the images of its own sample, also one that stands behind it.
    """

    looks = True
    has_head = True

    class Config(BertConfig, CausalLLM.Config, ReadsMatches):
        """Configuration of `med`; `model` may be a BERT, or a BLIP (`Salesforce/
        blip-image-captioning-base`, `Salesforce/blip-itm-base-coco`)."""

        @property
        def all_pretrained(self) -> bool:
            return False

        @property
        def most_tokens(self) -> int | None:
            return self.positions

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
        if tokenizer_object is None:
            tokenizer_object = choose_tokenizer(config, config.tokenizer, config.model, texts)
        sizes = sizes_of(config, (BERT, BLIP))
        self.tokenizer = at_most(_marked(tokenizer_object), sizes["positions"])
        sizes["words"] = max(sizes["words"], len(self.tokenizer))
        dropout = config.dropout
        self.bert = Bert(BertShape(**sizes, visual_dim=visual_dim, dropout=dropout, writes=True))
        self.dim = sizes["dim"]
        self.word_head = WordHead(self.dim, sizes["words"])
        draw_scaled(self)
        fill(config, self.bert, self.word_head)
        if config.model is None:
            self.word_head.level(self.bert.words)

    @property
    def decoder_layers(self) -> nn.ModuleList:
        return self.bert.blocks

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.bert.words(ids)
        return embedded

    def head(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.word_head(hidden, self.bert.words)
        return logits

    def says(self, hidden: Tensor) -> Tensor:
        return self.head(hidden)

    @property
    def beside(self) -> tuple[nn.Module, ...]:
        return (self.word_head,)

    def forward(
        self,
        embeds: Tensor,
        segments: Segments,
        layer_inputs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        group = Layout(segments, embeds.device).whole
        samples, longest = group.index.shape
        self._check_length(longest)
        at = torch.arange(longest, device=embeds.device)
        own = (at[:, None] >= at)[None, None].expand(samples, -1, -1, -1)
        hidden = self.bert.placed(embeds[group.index], at)
        sight = _sight(layer_inputs, group.index[:, :1])
        done = self.bert.run(hidden, own, sight, causal=True)
        return done.flatten(0, 1) if group.real is None else done[group.real]

    def decode(
        self,
        embeds: Tensor,
        mask: Tensor,
        cache: Any | None = None,
        layer_inputs: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, Any]:
        new, seen = embeds.shape[1], mask.shape[1]
        self._check_length(seen)
        at = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, seen - new :]
        place = torch.arange(seen, device=mask.device)
        row = place[seen - new :, None]
        # Padding sees itself, or it would be not a number; nobody sees it.
        own = ((place <= row) & mask[:, None]) | (place == row)
        kept: list[Written] = cache or [Written() for _ in self.bert.blocks]
        hidden = self.bert.placed(embeds, at)
        sight = _sight(layer_inputs, None)
        return self.bert.run(hidden, own[:, None], sight, causal=True, kept=kept), kept

    def blueprint(self) -> Config:
        return self.config.model_copy(update=self.config.written_out(self.bert.shape))

    def _check_length(self, tokens: int) -> None:
        most = self.bert.shape.positions
        if tokens > most:
            raise InputError(
                f"{label(self.config)}: a text of {tokens} tokens, and there are positions for "
                f"{most}. Write `max_length: {most}` or less, or ask for a shorter answer"
            )


def _sight(layer_inputs: Mapping[str, Any] | None, firsts: Tensor | None) -> Sight | None:
    """What each text looks at: the states of its own images, side by side. `firsts` (texts 1) are
    the places of their first tokens in a pack; None, it is a batch."""
    states: CrossAttentionStates | None = (layer_inputs or {}).get(VISUAL_STATES)
    if layer_inputs is None or states is None:
        return None
    seen: Tensor = layer_inputs[VISUAL_SEEN]
    own = seen[:, 0] if firsts is None else seen[firsts[:, 0]]
    most = max(1, int(own.sum(dim=1).max()))
    which = own.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    mask = states.mask[which] & own.gather(1, which)[..., None]
    return Sight(states.values[which].flatten(1, 2), mask.flatten(1)[:, None, None], True)


def _marked(tokenizer: Any) -> Any:
    """A copy with tokens that say how a text is meant, and what is written begins with its own."""
    from tokenizers.processors import TemplateProcessing

    marked = copy.deepcopy(tokenizer)
    if marked.bos_token_id is None:
        marked.add_special_tokens({"bos_token": WRITTEN})
    if marked.eos_token_id is None:
        marked.eos_token = marked.sep_token
    if GROUNDED not in marked.get_added_vocab():
        from tokenizers import AddedToken

        marked.add_tokens([AddedToken(GROUNDED, special=True, normalized=False)], True)
    start = marked.bos_token
    marked.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A $B", special_tokens=[(start, marked.bos_token_id)]
    )
    return marked


@hookimpl
def register_llms(register: Callable[[type], None]) -> None:
    register(Med)
