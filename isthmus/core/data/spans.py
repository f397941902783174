"""What templates are written with: a turn's content, control tokens, the end of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from isthmus.core.contracts import ControlSpan, ImageSpan, NoStart, Span, TextSpan, Turn
from isthmus.errors import PartError


def content(turn: Turn, supervised: bool = False) -> list[Span]:
    """The words of a turn as they were typed, images where their slots stand."""
    return [
        TextSpan(piece, supervised=supervised, typed=True)
        if isinstance(piece, str)
        else ImageSpan(piece.index)
        for piece in turn.content
    ]


def control(token: str, tokenizer: Any, supervised: bool = False) -> Span:
    """A control token; its characters where the tokenizer does not have it, which is what the
    tokenizer itself makes of a rendered conversation."""
    if tokenizer.backend_tokenizer.token_to_id(token) is None:
        return TextSpan(token, supervised=supervised)
    return ControlSpan(token, supervised=supervised)


def end_token(tokenizer: Any) -> str:
    """The token that ends a text (`</s>`). Raises PartError where there is none."""
    token: str | None = tokenizer.eos_token
    if token is None:
        raise PartError(
            "the tokenizer has no end-of-text token, and an answer would never stop; "
            "set its `eos_token`, or take the template `chatml` or `tokenizer`"
        )
    return token


def start_tokens(tokenizer: Any) -> list[Span]:
    """What the tokenizer itself puts before every text (`<s>`), or nothing."""
    encoding = tokenizer.backend_tokenizer.encode("x", add_special_tokens=True)
    marked = zip(encoding.tokens, encoding.special_tokens_mask, strict=True)
    return [ControlSpan(token) for token, _ in takewhile(lambda pair: pair[1], marked)]


def start_behind_images(spans: Sequence[Span], tokenizer: Any) -> list[Span]:
    """The same with the images that come first before the start token, as BLIP-2 has them, and
    without the line break that parts images from a question."""
    first = takewhile(lambda span: isinstance(span, ImageSpan) or span == TextSpan(""), spans)
    images = [span for span in first if isinstance(span, ImageSpan)]
    if not images:
        return list(spans)
    rest = list(spans[spans.index(images[-1]) + 1 :])
    for at, span in enumerate(rest):
        if isinstance(span, TextSpan) and span.typed:
            if not span.supervised:
                rest[at] = replace(span, text=span.text.removeprefix("\n"))
            break
    return [NoStart(), *images, *start_tokens(tokenizer), *rest]


def split_system(turns: Sequence[Turn], default: str) -> tuple[list[Span], list[Turn]]:
    """The system's words, those of a first `system` turn or else `default`, and the rest."""
    turns = list(turns)
    if turns and turns[0].role == "system":
        return content(turns[0]), turns[1:]
    return ([TextSpan(default, typed=True)] if default else []), turns
