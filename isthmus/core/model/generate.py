"""Answers: batched generation over the LLM's cache.

The loop is our own, since prompts hold visual tokens and layers may take further inputs. A batch
is padded on the left, and each sequence ends by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from isthmus.core.contracts import (
    VISUAL_SEEN,
    VISUAL_STATES,
    CausalLLM,
    Config,
    ConnectorText,
    Images,
    Segments,
)
from isthmus.core.model.draw import part_seed
from isthmus.core.model.layout import sees
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import InputError, PartError

Ending = Literal["stop", "length"]
"""Why an answer ended: a stop, or as many tokens as were allowed."""


class Settings(Config):
    """How answers are generated."""

    max_new_tokens: int = Field(default=256, gt=0)
    """Tokens of an answer at most."""
    temperature: float = Field(default=0.0, ge=0)
    """0 takes the most likely token; above, tokens are drawn, the flatter the higher it is."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw from the fewest tokens that have this share of the probability between them."""
    seed: int = Field(default=0, ge=0)
    """What the draws follow from, with the prompt's number."""


@dataclass(frozen=True)
class Stops:
    """What ends an answer: a token of `ids`, or one of `strings` in its text."""

    ids: frozenset[int] = frozenset()
    strings: tuple[str, ...] = ()


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
class Answer:
    """Token ids without the stop token, the text up to a stop string, and why it ended."""

    ids: tuple[int, ...]
    text: str
    ending: Ending


def generate(
    model: VisionLanguageModel, prompts: Sequence[Prompt], settings: Settings, stops: Stops
) -> list[Answer]:
    """The answers to all prompts, in order, computed as one batch."""
    writings = [_Writing(stops) for _ in prompts]
    for _ in _steps(model, prompts, settings, writings):
        pass
    return [writing.answer(_llm(model).tokenizer) for writing in writings]


def stream(
    model: VisionLanguageModel, prompts: Sequence[Prompt], settings: Settings, stops: Stops
) -> Iterator[tuple[int | None, ...]]:
    """One token of every answer at a time; None for an answer that has ended.

    A stop token is not among them; the tokens of a stop string are.
    """
    return _steps(model, prompts, settings, [_Writing(stops) for _ in prompts])


class _Writing:
    """One answer as it grows."""

    def __init__(self, stops: Stops) -> None:
        self.stops = stops
        self.ids: list[int] = []
        self.ending: Ending | None = None

    def add(self, token: int, tokenizer: Any) -> int | None:
        if self.ending is not None:
            return None
        if token in self.stops.ids:
            self.ending = "stop"
            return None
        self.ids.append(token)
        if self.stops.strings:
            # A character has at most four bytes, and a token at least one.
            reach = 4 * max(len(string) for string in self.stops.strings) + 4
            tail = tokenizer.decode(self.ids[-reach:])
            if any(string in tail for string in self.stops.strings):
                self.ending = "stop"
        return token

    def answer(self, tokenizer: Any) -> Answer:
        text = tokenizer.decode(self.ids, skip_special_tokens=True)
        for string in self.stops.strings:
            text = text.split(string)[0]
        return Answer(tuple(self.ids), text, self.ending or "length")


@torch.no_grad()
def _steps(
    model: VisionLanguageModel,
    prompts: Sequence[Prompt],
    settings: Settings,
    writings: Sequence[_Writing],
) -> Iterator[tuple[int | None, ...]]:
    if not prompts:
        return
    llm = _llm(model)
    model.eval()
    embeds, mask, layer_inputs, later = _read(model, llm, prompts)
    choose = _Choice(settings, [prompt.number for prompt in prompts])
    cache: Any = None
    for _ in range(settings.max_new_tokens):
        hidden, cache = llm.decode(embeds, mask, cache, layer_inputs)
        tokens = choose(llm.head(hidden[:, -1]).float())
        yield tuple(
            writing.add(token, llm.tokenizer)
            for writing, token in zip(writings, tokens, strict=True)
        )
        if all(writing.ending for writing in writings):
            return
        embeds, layer_inputs = llm.embed(torch.tensor(tokens, device=mask.device))[:, None], later
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)


def _llm(model: VisionLanguageModel) -> CausalLLM:
    if not isinstance(model.llm, CausalLLM):
        raise PartError("generating text needs a causal `llm` in the model")
    return model.llm


def _read(
    model: VisionLanguageModel, llm: CausalLLM, prompts: Sequence[Prompt]
) -> tuple[Tensor, Tensor, dict[str, Any], dict[str, Any]]:
    """Left-padded embeddings (batch tokens dim), their mask (batch tokens), and layer inputs:
    those of the prompts, and those of every token after them."""
    lengths = [len(prompt.ids) for prompt in prompts]
    if not all(lengths):
        raise InputError(f"prompt {lengths.index(0)} is empty; there is nothing to continue")
    device = next(llm.parameters()).device
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    visual = [prompt.visual + start for prompt, start in zip(prompts, starts, strict=True)]
    images = [prompt.images.to(device) for prompt in prompts if prompt.images is not None]
    texts = [text for prompt in prompts for text in prompt.texts]
    flat, states = model.embed(
        torch.cat([prompt.ids for prompt in prompts]).to(device),
        torch.cat(visual).to(device),
        Images.joined(images) if images else None,
        ConnectorText.of(texts).to(device) if texts else None,
    )
    longest = max(lengths)
    real = [torch.arange(longest, device=device) >= longest - length for length in lengths]
    mask = torch.stack(real)
    embeds = _left_padded(flat, mask)
    if states is None:
        return embeds, mask, {}, {}
    stands = [(row, at) for row, prompt in enumerate(prompts) for at in prompt.stands]
    places = torch.tensor(stands, dtype=torch.long, device=device).reshape(-1, 2)
    seen = sees(Segments(tuple(lengths)), places, len(states.mask))
    # What is new stands behind every image of its prompt, also behind one at the very end.
    behind = sees(Segments((1,) * len(prompts)), places * places.new_tensor([1, 0]), seen.shape[1])
    first = {VISUAL_STATES: states, VISUAL_SEEN: _left_padded(seen, mask)}
    return embeds, mask, first, {VISUAL_STATES: states, VISUAL_SEEN: behind[:, None]}


def _left_padded(flat: Tensor, mask: Tensor) -> Tensor:
    """(tokens dim) -> (batch tokens dim), zero where the mask is."""
    padded = flat.new_zeros(*mask.shape, flat.shape[1])
    padded[mask] = flat
    return padded


class _Choice:
    """Logits (batch vocabulary) -> the next token of each sequence."""

    def __init__(self, settings: Settings, numbers: Sequence[int]) -> None:
        self.settings = settings
        self.draws = [
            torch.Generator().manual_seed(part_seed(settings.seed, str(number)))
            for number in numbers
        ]

    def __call__(self, logits: Tensor) -> list[int]:
        if self.settings.temperature == 0:
            greedy: list[int] = logits.argmax(dim=-1).tolist()
            return greedy
        shares = (logits / self.settings.temperature).softmax(dim=-1).cpu()
        return [self._draw(row, draw) for row, draw in zip(shares, self.draws, strict=True)]

    def _draw(self, shares: Tensor, draw: torch.Generator) -> int:
        best, tokens = shares.sort(descending=True, stable=True)
        # A token stays while those before it have less than the wanted share.
        best[best.cumsum(dim=0) - best >= self.settings.top_p] = 0
        return int(tokens[torch.multinomial(best, 1, generator=draw)])
