"""Answers: batched generation over the LLM's cache.

The loop is our own, since prompts hold visual tokens and layers may take further inputs. How the
model reads is `reading.py`; here tokens are chosen, and each answer ends by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from isthmus.core.model.draw import part_seed
from isthmus.core.model.reading import Prompt as Prompt
from isthmus.core.model.reading import begin
from isthmus.core.model.settings import Settings
from isthmus.core.model.vlm import VisionLanguageModel

Ending = Literal["stop", "length"]
"""Why an answer ended: a stop, or as many tokens as were allowed."""


@dataclass(frozen=True)
class Stops:
    """What ends an answer: a token of `ids`, or one of `strings` in its text."""

    ids: frozenset[int] = frozenset()
    strings: tuple[str, ...] = ()


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
    tokenizer = getattr(model.llm, "tokenizer", None)
    return [writing.answer(tokenizer) for writing in writings]


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
    model.eval()
    reading = begin(model, prompts)
    choose = _Choice(settings, [prompt.number for prompt in prompts])
    hidden = reading.first()
    for count in range(settings.max_new_tokens):
        tokens = choose(reading.llm.head(hidden).float())
        yield tuple(
            writing.add(token, reading.llm.tokenizer)
            for writing, token in zip(writings, tokens, strict=True)
        )
        if count + 1 == settings.max_new_tokens or all(writing.ending for writing in writings):
            return
        hidden = reading.after(tokens)


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
