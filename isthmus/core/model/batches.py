"""What a model's LLM makes of a batch: of a pack as a causal one, of pairs as an
encoder-decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from isthmus.core.contracts import (
    VISUAL_SEEN,
    VISUAL_STATES,
    CausalLLM,
    ConnectorText,
    Images,
    Pack,
    Pairs,
    Segments,
    Seq2SeqLLM,
)
from isthmus.core.model.layout import sees
from isthmus.errors import PartError

if TYPE_CHECKING:
    from isthmus.core.model.vlm import VisionLanguageModel


def of_pack(model: VisionLanguageModel, pack: Pack, needed: Tensor | None) -> Tensor:
    """Hidden states of its tokens, or at least of those `needed`. -> (tokens dim)"""
    llm = model.llm
    if not isinstance(llm, CausalLLM):
        raise PartError(
            "this objective needs a causal `llm` in the model, like `causal`; it has none"
        )
    embeds, states = model.embed(pack.ids, pack.visual, pack.images, pack.text)
    layer_inputs: dict[str, Any] | None = None
    if states is not None:
        if pack.images is not None and len(pack.stands) != len(states.mask):
            raise PartError(
                f"a batch with {len(states.mask)} images says {len(pack.stands)} places where "
                "they stand (`Pack.stands`); a connector by cross-attention needs them all"
            )
        seen = sees(pack.segments, pack.stands, len(states.mask), everywhere=llm.looks)
        layer_inputs = {VISUAL_STATES: states, VISUAL_SEEN: seen}
    prefixes = pack.segments.prefixes if llm.prefix_attention else None
    if llm.prefix_attention and prefixes is None:
        raise PartError(
            "the llm looks both ways over prefixes, and this batch does not say how long they "
            "are (`Segments.prefixes`); take an objective that does, like `lm`"
        )
    segments = replace(pack.segments, needed=needed, prefixes=prefixes)
    hidden: Tensor = llm(embeds, segments, layer_inputs)
    return hidden


def of_pairs(model: VisionLanguageModel, pairs: Pairs, needed: Tensor | None) -> Tensor:
    """Hidden states of what the decoder reads. -> (tokens dim)"""
    llm = model.llm
    if not isinstance(llm, Seq2SeqLLM):
        raise PartError("sources and targets need an encoder-decoder `llm`, like `seq2seq`")
    sources = pairs.sources
    memory = read(
        model, pairs.source_ids, sources, pairs.visual, pairs.images, pairs.text, pairs.shows
    )
    segments = replace(pairs.segments, needed=needed)
    hidden: Tensor = llm(memory, sources, llm.embed_answer(pairs.ids), segments)
    return hidden


def read(
    model: VisionLanguageModel,
    ids: Tensor,
    segments: Segments,
    visual: Tensor,
    images: Images | None,
    text: ConnectorText | None = None,
    shows: Tensor | None = None,
) -> Tensor:
    """What an encoder-decoder's encoder makes of sources; arguments as of the model's `embed`.
    -> memory (tokens dim)"""
    if not isinstance(model.llm, Seq2SeqLLM):
        raise PartError("a memory needs an encoder-decoder `llm`, like `seq2seq`")
    embeds, states = model.embed(ids, visual, images, text, shows)
    if states is not None:
        raise PartError(
            "a connector by cross-attention enters the layers of a decoder that reads the "
            "prompt, and an encoder-decoder's does not; take a connector that gives visual "
            "tokens, or `llm: causal`"
        )
    return model.llm.encode(embeds, segments)
