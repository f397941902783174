"""A template: how a conversation is written out for a language model.

It yields spans instead of one string, so that what the model must learn, what is a control
token and where images stand are known by construction and never searched for afterwards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from isthmus.core.contracts.conversation import Turn
from isthmus.core.contracts.part import Part, PartConfig


@dataclass(frozen=True)
class TextSpan:
    """Characters. Those of an assistant's answer are `supervised`, and so is the space that
    separates it from the prompt: generation begins before that space.

    `typed` says that a user or a data file wrote them: a special string among them (`</s>`,
    `<image>`) is then plain characters, never a control token.
    """

    text: str
    supervised: bool = False
    typed: bool = False


@dataclass(frozen=True)
class ControlSpan:
    """One control token by its string (`</s>`, `<|im_end|>`), which the tokenizer must know."""

    token: str
    supervised: bool = False


@dataclass(frozen=True)
class ImageSpan:
    """The place where the visual tokens of image `index` go."""

    index: int


@dataclass(frozen=True)
class NoStart:
    """First of all spans, where at all: the start token that the tokenizer adds to every text
    stays away, because the template writes its own or wants none (chat templates)."""


Span = TextSpan | ControlSpan | ImageSpan | NoStart


class Template(Part, ABC):
    """Writes conversations. Light and picklable: it goes to data workers."""

    kind: ClassVar[str] = "template"

    class Config(PartConfig):
        """Base of a template's configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        """The whole conversation. Supervised are the assistant's answers, each with the
        stop that ends it. Spans read one after another are the published string, with the
        images where their slots stand; a start token that the tokenizer itself adds to
        every text (BOS) is not among them."""

    @abstractmethod
    def prompt(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        """What stands before the assistant's next answer: a prefix of `spans` of the same
        turns with an answer, ending before the space that may separate the two (since
        sentencepiece joins it with the answer's first word)."""

    @abstractmethod
    def stop(self, tokenizer: Any) -> str:
        """The string of the stop that ends an answer: a control token's, or plain text."""
