"""`bare`, beside strings written by hand."""

from __future__ import annotations

import pytest

from isthmus.core.contracts import ImageSlot, Turn
from isthmus.plugins.templates.bare import Bare
from isthmus.testing import check_template
from tests.plugins.templates.test_published import TURNS, read
from tests.tokenizers import small_tokenizer

BLIP2 = {"before": "Question: ", "after": " Answer:"}


@pytest.mark.parametrize("fields", [{}, BLIP2])
def test_it_keeps_its_contract(fields: dict[str, str]) -> None:
    check_template(Bare.Config(**fields))


def test_words_alone() -> None:
    template, tokenizer = Bare.Config().build(), small_tokenizer()
    assert read(template.spans(TURNS, tokenizer)) == (
        "<image>\nWhat is this? A cat.</s>Sure? Yes.</s>"
    )
    assert read(template.prompt(TURNS[:1], tokenizer)) == "<image>\nWhat is this?"


def test_blip2s_prompt() -> None:
    turns = (Turn("user", (ImageSlot(0), "how many cats?")), Turn("assistant", ("two",)))
    template, tokenizer = Bare.Config(**BLIP2).build(), small_tokenizer()
    assert read(template.prompt(turns[:1], tokenizer)) == "<image>Question: how many cats? Answer:"
    assert read(template.spans(turns, tokenizer)).endswith(" Answer: two</s>")
