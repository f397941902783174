"""Prompts as a language model reads them, and then its own answers, token by token.

One batch at a time, through the LLM's cache. What a prompt gives does not depend on its
neighbours: padding is never looked at.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isthmus.core.contracts import (
    LLM,
    VISUAL_SEEN,
    VISUAL_STATES,
    CausalLLM,
    ConnectorText,
    Images,
    Segments,
    Seq2SeqLLM,
)
from isthmus.core.model.batches import read
from isthmus.core.model.layout import sees
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import InputError, PartError


@dataclass(frozen=True)
class Prompt:
    """What one answer continues.

    `ids` (tokens), any value where a visual token goes; `visual` (visual tokens) their places,
    in the images' order; `stands` how many ids come before each image, and `texts` the ids
    that a connector reads beside each, where it reads any. `number` tells prompts apart when
    tokens are drawn: an answer follows from it and the seed, whatever else is in the batch.
    """

    ids: Tensor
    visual: Tensor
    images: Images | None = None
    number: int = 0
    stands: tuple[int, ...] = ()
    texts: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class _Flat:
    """Prompts end to end."""

    ids: Tensor
    segments: Segments
    visual: Tensor
    images: Images | None
    text: ConnectorText | None

    @staticmethod
    def of(prompts: Sequence[Prompt], device: torch.device) -> _Flat:
        lengths = [len(prompt.ids) for prompt in prompts]
        if not all(lengths):
            raise InputError(f"prompt {lengths.index(0)} is empty; there is nothing to continue")
        segments = Segments(tuple(lengths))
        starts = zip(prompts, segments.offsets, strict=False)
        images = [prompt.images.to(device) for prompt in prompts if prompt.images is not None]
        texts = [text for prompt in prompts for text in prompt.texts]
        return _Flat(
            torch.cat([prompt.ids for prompt in prompts]).to(device),
            segments,
            torch.cat([prompt.visual + start for prompt, start in starts]).to(device),
            Images.joined(images) if images else None,
            ConnectorText.of(texts).to(device) if texts else None,
        )


class Reading(ABC):
    """Prompts that are read by `llm`."""

    llm: LLM

    @abstractmethod
    def first(self) -> Tensor:
        """Read the prompts. -> hidden (batch dim), of which each answer's first token is made."""

    @abstractmethod
    def after(self, tokens: Sequence[int]) -> Tensor:
        """Read the next token of each answer. -> hidden (batch dim)"""


def begin(model: VisionLanguageModel, prompts: Sequence[Prompt]) -> Reading:
    """Open prompts, at least one, to be read by the model's LLM."""
    if isinstance(model.llm, CausalLLM):
        return _Causal(model, model.llm, prompts)
    if isinstance(model.llm, Seq2SeqLLM):
        return _Pairs(model, model.llm, prompts)
    raise PartError("generating text needs an `llm` in the model, causal or encoder-decoder")


class _Causal(Reading):
    """Prompts, padded on the left, and answers are one sequence."""

    def __init__(
        self, model: VisionLanguageModel, llm: CausalLLM, prompts: Sequence[Prompt]
    ) -> None:
        self.llm: CausalLLM = llm
        device = next(llm.parameters()).device
        flat = _Flat.of(prompts, device)
        embeds, states = model.embed(flat.ids, flat.visual, flat.images, flat.text)
        self.mask = _real(flat.segments.lengths, device, left=True)
        self.embeds = _padded(embeds, self.mask)
        self.inputs: dict[str, Any] = {}
        """What layers are given beside the prompts, and then beside every token after them."""
        self.later: dict[str, Any] = {}
        if states is not None:
            stands = [(row, at) for row, prompt in enumerate(prompts) for at in prompt.stands]
            places = torch.tensor(stands, dtype=torch.long, device=device).reshape(-1, 2)
            seen = sees(flat.segments, places, len(states.mask), everywhere=llm.looks)
            # What is new stands behind every image of its prompt, also behind one at the very end.
            one = Segments((1,) * len(prompts))
            behind = sees(one, places * places.new_tensor([1, 0]), seen.shape[1])
            self.inputs = {VISUAL_STATES: states, VISUAL_SEEN: _padded(seen, self.mask)}
            self.later = {VISUAL_STATES: states, VISUAL_SEEN: behind[:, None]}
        self.cache: Any = None

    def first(self) -> Tensor:
        return self._read(self.embeds, self.inputs)

    def after(self, tokens: Sequence[int]) -> Tensor:
        ids = torch.tensor(tokens, device=self.mask.device)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(ids), 1)], dim=1)
        return self._read(self.llm.embed(ids)[:, None], self.later)

    def _read(self, embeds: Tensor, inputs: dict[str, Any]) -> Tensor:
        hidden, self.cache = self.llm.decode(embeds, self.mask, self.cache, inputs)
        return hidden[:, -1]


class _Pairs(Reading):
    """Prompts are an encoder's sources, and answers a decoder's."""

    def __init__(
        self, model: VisionLanguageModel, llm: Seq2SeqLLM, prompts: Sequence[Prompt]
    ) -> None:
        self.llm: Seq2SeqLLM = llm
        device = next(llm.parameters()).device
        flat = _Flat.of(prompts, device)
        memory = read(model, flat.ids, flat.segments, flat.visual, flat.images, flat.text)
        self.mask = _real(flat.segments.lengths, device, left=False)
        self.memory = _padded(memory, self.mask)
        self.cache: Any = None

    def first(self) -> Tensor:
        starts = torch.tensor(self.llm.starts, device=self.mask.device)
        return self._read(starts.expand(len(self.mask), -1))

    def after(self, tokens: Sequence[int]) -> Tensor:
        return self._read(torch.tensor(tokens, device=self.mask.device)[:, None])

    def _read(self, ids: Tensor) -> Tensor:
        embeds = self.llm.embed_answer(ids)
        hidden, self.cache = self.llm.decode(embeds, self.memory, self.mask, self.cache)
        return hidden[:, -1]


def _real(lengths: Sequence[int], device: torch.device, left: bool) -> Tensor:
    """(batch longest) True where a token is real, after padding or before it."""
    longest = max(lengths)
    at = torch.arange(longest, device=device)
    return torch.stack([at >= longest - n if left else at < n for n in lengths])


def _padded(flat: Tensor, mask: Tensor) -> Tensor:
    """(tokens dim) -> (batch tokens dim), zero where the mask is."""
    padded = flat.new_zeros(*mask.shape, flat.shape[1])
    padded[mask] = flat
    return padded
