"""`bare`: the words alone. What FLAN-T5 and its like were taught on, which know no roles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from isthmus import hookimpl
from isthmus.core.contracts import ImageSpan, Span, Template, TextSpan, Turn
from isthmus.core.data.spans import (
    content,
    control,
    end_token,
    split_system,
    start_behind_images,
)


class Bare(Template, name="bare"):
    """Question, answer, end of text, and nobody's name.

    `question answer</s>question answer</s>`; BLIP-2's prompt (arXiv:2301.12597) is
    `{type: bare, before: "Question: ", after: " Answer:"}`.
    """

    class Config(Template.Config):
        """Settings of `bare`."""

        before: str = ""
        """What stands before every question, behind the images that come first in its turn."""
        after: str = ""
        """What stands between a question and its answer."""
        images_before_start: bool = False
        """Images that come first stand before the token that a text starts with: BLIP-2's order."""

    config: Config

    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        spans, rest = split_system(turns, "")
        if spans:
            spans.append(TextSpan(" "))
        for turn in rest:
            if turn.role == "assistant":
                end = control(end_token(tokenizer), tokenizer, supervised=True)
                answer = [TextSpan(" ", supervised=True), *content(turn, supervised=True)]
                spans += [*answer, end]
            else:
                pieces = content(turn)
                images = list(takewhile(lambda span: isinstance(span, ImageSpan), pieces))
                # Written even where they are empty: they part the answers on both sides.
                before, after = TextSpan(self.config.before), TextSpan(self.config.after)
                spans += [*images, before, *pieces[len(images) :], after]
        if self.config.images_before_start:
            return start_behind_images(spans, tokenizer)
        return spans

    def prompt(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        return self.spans(turns, tokenizer)

    def stop(self, tokenizer: Any) -> str:
        return end_token(tokenizer)


@hookimpl
def register_templates(register: Callable[[type], None]) -> None:
    register(Bare)
