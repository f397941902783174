"""Tokenizers: trained on the run's own text, or published."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from isthmus.core.model.tokenizer import BpeConfig, choose_tokenizer, load_tokenizer, train_bpe
from isthmus.errors import InputError, PartError
from isthmus.plugins.llms.causal import Causal

TEXTS = [
    "What colour is the digit? The digit is red.",
    "There are two digits in the picture: a blue 4 and a green 7.",
    "A bird\tsits\non a tree.",
] * 3
STRANGE = ["", " ", "  two  spaces ", "\n\ttabs\n", "\u732b \U0001f469\u200d\U0001f467", "</s> <s>"]
LLM = Causal.Config(config={"model_type": "llama"})


def test_the_same_texts_give_the_same_tokenizer_in_any_order() -> None:
    first, second = train_bpe(TEXTS, 320), train_bpe(reversed(TEXTS), 320)
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()


def test_it_has_the_size_that_was_asked_for_when_the_text_allows_it() -> None:
    assert len(train_bpe(TEXTS, 300)) == 300


def test_it_writes_every_string_and_reads_it_back() -> None:
    tokenizer = train_bpe(TEXTS, 320)
    for text in [*TEXTS, *STRANGE[:-1]]:
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_control_tokens_have_llamas_ids() -> None:
    tokenizer = train_bpe(TEXTS, 320)
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<s>", "</s>"]) == [0, 1, 2]
    ids = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert ids == (0, 1, 2)


@pytest.mark.parametrize("load", [PreTrainedTokenizerFast, AutoTokenizer])
def test_saved_and_loaded_it_is_the_same(tmp_path: Path, load: type) -> None:
    tokenizer = train_bpe(TEXTS, 320)
    tokenizer.save_pretrained(tmp_path)
    again = load.from_pretrained(tmp_path)
    for text in [*TEXTS, *STRANGE]:
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert again.pad_token_id == 0


@pytest.mark.parametrize("name", ["llama2", "mistral_v1", "gpt2"])
def test_a_published_tokenizer_is_loaded_from_its_folder(data_folder: Path, name: str) -> None:
    folder = data_folder / "tokenizers" / name
    tokenizer = load_tokenizer(LLM, str(folder))
    assert tokenizer.is_fast
    assert len(tokenizer) == {"llama2": 32000, "mistral_v1": 32000, "gpt2": 50257}[name]


def test_training_without_text_says_what_is_missing() -> None:
    with pytest.raises(PartError, match=r"llm causal: tokenizer:.*run's own text"):
        choose_tokenizer(LLM, BpeConfig(vocab_size=300), None, None)


def test_a_model_from_scratch_says_that_it_needs_a_tokenizer() -> None:
    with pytest.raises(PartError, match=r"from scratch needs `tokenizer:`.*vocab_size: 512"):
        choose_tokenizer(LLM, None, None, None)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(InputError, match="llm causal: there is no folder nowhere"):
        load_tokenizer(LLM, "./nowhere")


def test_fewer_tokens_than_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="259"):
        BpeConfig(vocab_size=200)
