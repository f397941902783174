"""Does a template keep its contract (`isthmus.core.contracts.template`)?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from isthmus.core.contracts import (
    ControlSpan,
    ImageSlot,
    ImageSpan,
    NoStart,
    Span,
    Template,
    TextSpan,
    Turn,
)
from isthmus.core.data.encode import tokenize
from isthmus.testing.promises import build, check_config, in_worker, promise
from isthmus.testing.tiny import tiny_tokenizer

ANSWERS = ("A red dog.", "Yes, two")
TALK = (
    Turn("user", (ImageSlot(0), "\nWhat is this?")),
    Turn("assistant", (ANSWERS[0],)),
    Turn("user", ("And are there ", ImageSlot(1), " more?")),
    Turn("assistant", (ANSWERS[1],)),
)
SYSTEM = Turn("system", ("Be brief.",))
TALKS = (TALK[:2], TALK, (SYSTEM, *TALK))
"""Conversations that every template can write."""


def check_template(config: Template.Config, tokenizer: Any = None) -> None:
    """Write some conversations for `tokenizer` (absent, `tiny_tokenizer`) and try every promise
    on their spans. Raises ContractBroken."""
    check_config(config)
    template: Template = build(config)
    tokenizer = tokenizer or tiny_tokenizer()
    for turns in TALKS:
        _check_spans(template, turns, tokenizer)
        _check_answers(template, turns, tokenizer)
        _check_prompt(template, turns, tokenizer)
    _check_typed(template, tokenizer)


def _check_spans(template: Template, turns: Sequence[Turn], tokenizer: Any) -> None:
    name = type(template).__qualname__
    spans = template.spans(turns, tokenizer)
    promise(
        spans == template.spans(turns, tokenizer)
        and spans == in_worker(template).spans(turns, tokenizer),
        f"{name}.spans: in a data worker, or asked twice, it writes something else",
    )
    slots = [slot.index for turn in turns for slot in turn.slots]
    images = [span.index for span in spans if isinstance(span, ImageSpan)]
    promise(
        images == slots,
        f"{name}.spans: images stand in the order {slots}, the template has them as {images}",
    )
    promise(
        not any(isinstance(span, NoStart) for span in spans[1:]),
        f"{name}.spans: NoStart stands first or nowhere",
    )
    for span in spans:
        promise(
            not isinstance(span, ControlSpan)
            or tokenizer.backend_tokenizer.token_to_id(span.token) is not None,
            f"{name}.spans: the tokenizer knows no control token like {span}",
        )


def _check_answers(template: Template, turns: Sequence[Turn], tokenizer: Any) -> None:
    """Supervised are the answers, each with its stop, and nothing else."""
    name = type(template).__qualname__
    spans = template.spans(turns, tokenizer)
    learnt = [
        "".join(map(_text, run)) for supervised, run in groupby(spans, _supervised) if supervised
    ]
    stop = template.stop(tokenizer)
    promise(bool(stop), f"{name}.stop: without a stop no answer would ever end")
    answers = [turn.text for turn in turns if turn.role == "assistant"]
    fits = len(learnt) == len(answers) and all(
        re.fullmatch(rf"\s*{re.escape(answer)}\s*{re.escape(stop)}", text)
        for text, answer in zip(learnt, answers, strict=True)
    )
    promise(
        fits,
        f"{name}.spans: supervised are the answers {answers}, each with the stop {stop!r}; here "
        f"it is {learnt}",
    )


def _check_prompt(template: Template, turns: Sequence[Turn], tokenizer: Any) -> None:
    """What generation begins from is what stood before the answer in training."""
    name = type(template).__qualname__
    whole, prompt = template.spans(turns, tokenizer), template.prompt(turns[:-1], tokenizer)
    before, text = "".join(map(_text, prompt)), "".join(map(_text, whole))
    promise(
        text.startswith(before),
        f"{name}.prompt: {before!r} does not begin {text!r}, the conversation with its answer",
    )
    answer = turns[-1].text
    promise(
        re.match(rf"\s*{re.escape(answer)}", text[len(before) :]) is not None
        and not before.endswith(" "),
        f"{name}.prompt: it ends right before the answer, and before the space that may stand "
        f"there; here it ends with {before[-20:]!r}, and {text[len(before) :][:20]!r} follows",
    )
    ids, learnt = tokenize(prompt, tokenizer).ids, tokenize(whole, tokenizer).ids
    promise(
        list(ids) == list(learnt[: len(ids)]),
        f"{name}.prompt: its tokens are not those that the conversation begins with",
    )


def _check_typed(template: Template, tokenizer: Any) -> None:
    """A control token that somebody typed is plain characters."""
    name = type(template).__qualname__
    token = tokenizer.eos_token or tokenizer.all_special_tokens[0]
    said = f"zebra{token}zebra"
    turns = (Turn("user", (ImageSlot(0), said)), Turn("assistant", (said,)))
    spans = template.spans(turns, tokenizer)
    promise(
        all(span.typed for span in spans if isinstance(span, TextSpan) and "zebra" in span.text),
        f"{name}.spans: words of a turn are `typed`, or a {token} among them would be a control "
        "token",
    )


def _text(span: Span) -> str:
    if isinstance(span, ImageSpan):
        return f"\0{span.index}\0"
    if isinstance(span, ControlSpan):
        return span.token
    return span.text if isinstance(span, TextSpan) else ""


def _supervised(span: Span) -> bool:
    return isinstance(span, TextSpan | ControlSpan) and span.supervised
