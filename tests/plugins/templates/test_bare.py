"""`bare`, beside strings written by hand."""

from __future__ import annotations

import pytest

from isthmus.core.contracts import ImageSlot, Turn
from isthmus.core.data.encode import tokenize
from isthmus.plugins.templates.bare import Bare
from isthmus.plugins.templates.plain import Plain
from isthmus.testing import check_template, tiny_tokenizer
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


@pytest.mark.parametrize("plain", [False, True])
def test_blip2s_images_stand_before_the_start(plain: bool) -> None:
    """As transformers' processor and BLIP-2's own code have it: images, start token, words."""
    turns = (Turn("user", (ImageSlot(0), "\nhow many cats?")), Turn("assistant", ("two",)))
    fields = {} if plain else BLIP2
    template = (Plain if plain else Bare).Config(images_before_start=True, **fields).build()
    tokenizer = tiny_tokenizer()
    said = "two\n" if plain else "Question: how many cats? Answer: two</s>"
    found = tokenize(template.spans(turns, tokenizer), tokenizer).ids
    assert found == (-1, *tokenizer(said)["input_ids"])
    assert found[1] == tokenizer.bos_token_id
    assert tokenize(template.spans(turns[1:], tokenizer), tokenizer).ids[0] == found[1]
