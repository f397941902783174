"""What the text of a sample is, how it is cut, and what of two samples is known to be equal."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from typing import Any

import pytest
from tokenizers.normalizers import Lowercase

from isthmus.core.contracts import Grid, ImageSlot, Sample, Tools, Turn
from isthmus.core.data.matches import MatchPreparer, read, text_of
from isthmus.core.model.transform import FitTransform
from isthmus.errors import PartError, Unsupervised
from isthmus.testing import tiny_pictures, tiny_tokenizer


def sample(*said: str, images: int = 1, name: str = "a") -> Sample:
    turns: list[Turn] = []
    for number, words in enumerate(said):
        slots = tuple(ImageSlot(n) for n in range(images)) if not number else ()
        turns += [Turn("user", (*slots, "\nTell me.")), Turn("assistant", (words,))]
    return Sample(name, tuple(turns), tuple(tiny_pictures()[:images]), f"toy, {name}")


def preparer(**fields: Any) -> MatchPreparer:
    transform = FitTransform(size=(8, 8), grid=Grid(2, 2), fit="resize", fill=(0, 0, 0))
    tools = Tools(text_tokenizer=tiny_tokenizer(), transform=transform)
    return MatchPreparer(replace(tools, **fields), "text_encoder")


def test_text_is_what_the_assistant_says():
    assert text_of(sample(" A cat. ", "It sleeps.")) == "A cat. It sleeps."


def test_cut_text_keeps_the_tokens_around_it():
    tokenizer = tiny_tokenizer()
    whole = read("a red dog and a green cat", tokenizer)
    assert (whole[0], whole[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    cut = read("a red dog and a green cat", tokenizer, 5)
    assert len(cut) == 5
    assert cut == (*whole[:4], whole[-1])


def test_what_is_cut_is_not_warned_of(caplog: pytest.LogCaptureFixture, monkeypatch: Any):
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 5
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    assert len(read("a red dog and a green cat", tokenizer)) == 5
    assert not caplog.records


def test_typed_control_tokens_stay_text():
    tokenizer = tiny_tokenizer()
    ids = read("one </s> two", tokenizer)
    assert ids.count(tokenizer.eos_token_id) == 1


def test_length_is_that_of_the_example():
    one = sample("A cat.")
    assert preparer().length(one) == preparer().prepare(one).num_tokens
    assert preparer().prepare(one).num_tokens == len(preparer().prepare(one).ids) + 4


@pytest.mark.parametrize("images", [0, 2])
def test_sample_without_one_image_is_no_match(images: int):
    with pytest.raises(Unsupervised, match=f"has {images} images; a match is of one image"):
        preparer().prepare(sample("A cat.", images=images))


def test_sample_without_words_is_no_match():
    with pytest.raises(Unsupervised, match="has no text to compare"):
        preparer().prepare(sample(" "))


def test_equal_pictures_and_equal_words_have_equal_keys():
    made = preparer()
    one, same = made.prepare(sample("A  cat.")), made.prepare(sample("A cat.", name="b"))
    other = made.prepare(sample("A dog."))
    assert (one.image_key, one.text_key) == (same.image_key, same.text_key)
    assert one.sample_key != same.sample_key
    assert one.text_key != other.text_key


def test_texts_that_read_the_same_have_equal_keys():
    uncased = copy.deepcopy(tiny_tokenizer())
    uncased.backend_tokenizer.normalizer = Lowercase()
    for made, (one, other) in (
        (preparer(text_tokenizer=uncased), ("A cat.", "a Cat.")),
        (preparer(max_length=8), ("A cat sits here.", "A cat sits there.")),
    ):
        first, second = made.prepare(sample(one)), made.prepare(sample(other))
        assert first.ids == second.ids
        assert first.text_key == second.text_key


def test_reader_without_a_tokenizer_is_named():
    with pytest.raises(PartError, match="read by the text_encoder, which has no tokenizer"):
        preparer(text_tokenizer=None).prepare(sample("A cat."))
