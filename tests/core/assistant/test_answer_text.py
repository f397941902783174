"""Answers grow token by token; what was shown is never taken back or shown twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from isthmus.core.assistant.answer_text import AnswerText

ANSWERS = [
    "A cat on a mat.",
    " two  spaces,\ttabs\n\nand newlines ",
    "caf\u00e9 na\u00efve \u00fcber",
    "\u732b\u306f\u30de\u30c3\u30c8\u306e\u4e0a\u306b\u3044\u307e\u3059\u3002",
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467 and flag \U0001f1ef\U0001f1f5",
    "\U0001f600\U0001f600",
    "a \ufffd that the picture really shows, and more",
]


def bytewise() -> Any:
    """A tokenizer whose tokens are single bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")


def grow(
    tokenizer: Any, text: str, stop: str = "</s>", by: int = 1
) -> tuple[list[str], AnswerText]:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    answer = AnswerText(tokenizer, stop)
    pieces = [answer.add(ids[at : at + by]) for at in range(0, len(ids), by)]
    return [*pieces, answer.finish()], answer


@pytest.mark.parametrize("text", ANSWERS)
@pytest.mark.parametrize("by", [1, 3])
def test_pieces_make_the_whole_and_hold_no_broken_character(text: str, by: int) -> None:
    pieces, answer = grow(bytewise(), text, by=by)
    assert "".join(pieces) == answer.text == text.strip()
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@pytest.mark.parametrize("name", ["llama2", "mistral_v1", "gpt2"])
def test_pieces_make_the_whole_with_real_tokenizers(name: str, data_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(data_folder / "tokenizers" / name)
    for text in ANSWERS:
        pieces, answer = grow(tokenizer, text)
        assert "".join(pieces) == answer.text == text.strip()
        if "\ufffd" not in text:
            assert not any("\ufffd" in piece for piece in pieces)


def test_a_letter_appears_as_soon_as_it_is_certain() -> None:
    pieces, _ = grow(bytewise(), "a\u00e9b c")
    assert pieces == ["a", "", "\u00e9", "b", "", " c", ""]


def test_a_stop_in_plain_text_ends_the_answer_and_is_never_shown() -> None:
    tokenizer = bytewise()
    pieces, answer = grow(tokenizer, "one#two##three", stop="##")
    assert answer.stopped
    assert "".join(pieces) == answer.text == "one#two"
    pieces, answer = grow(tokenizer, "a caption \nmore", stop="\n")
    assert "".join(pieces) == answer.text == "a caption"


def test_the_beginning_of_a_stop_that_does_not_come_is_text() -> None:
    pieces, answer = grow(bytewise(), "one#", stop="##")
    assert not answer.stopped
    assert "".join(pieces) == answer.text == "one#"


def test_bytes_that_are_no_character_do_not_break_the_rest() -> None:
    tokenizer = bytewise()
    ids = tokenizer("a\u00e9", add_special_tokens=False).input_ids[:2]
    ids += tokenizer("b", add_special_tokens=False).input_ids
    answer = AnswerText(tokenizer)
    pieces = [answer.add([each]) for each in ids] + [answer.finish()]
    assert "".join(pieces) == answer.text == "a\ufffdb"
