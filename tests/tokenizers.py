"""Tokenizers for tests: real ones from the data folder, and small ones trained on the spot."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

REAL = ("llama2", "mistral_v1", "gpt2")
SMALL = ("byte_bpe", "digit_bpe", "wordpiece", "unigram", "trimming")

TEXT = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "USER: What is in the picture? ASSISTANT: A dog runs on the green grass. "
    "Two people stand beside a red car; 3 birds, 12 boats and 456 trees.\n\n\n"
    "system assistant user <|im_start|> <|im_end|> [INST] [/INST] <<SYS>> <</SYS>>\n"
)


@cache
def real_tokenizer(folder: Path, name: str):
    """LLaMA-2, Mistral v1 or GPT-2, as published."""
    return AutoTokenizer.from_pretrained(folder / "tokenizers" / name, local_files_only=True)


@cache
def small_tokenizer(kind: str = "byte_bpe"):
    """A tokenizer trained on TEXT, with `</s>` at the end of a text.

    `byte_bpe` is what isthmus trains; `digit_bpe` parts digits from the space before them, as
    Llama-3 and Qwen do; `trimming` leaves spaces out of its offsets, as Llama-3 does.
    """
    specials = ["<pad>", "<s>", "</s>", "<unk>"]
    common = {"vocab_size": 400, "special_tokens": specials, "show_progress": False}
    if kind == "wordpiece":
        own = Tokenizer(models.WordPiece(unk_token="<unk>"))
        own.normalizer = normalizers.BertNormalizer()
        own.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(**common)
    elif kind == "unigram":
        own = Tokenizer(models.Unigram())
        own.normalizer = normalizers.NFKC()
        own.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **common)
    else:
        own = Tokenizer(models.BPE())
        bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
        digits = pre_tokenizers.Digits(individual_digits=True)
        parts = [digits, bytes_] if kind == "digit_bpe" else [bytes_]
        own.pre_tokenizer = pre_tokenizers.Sequence(parts)
        own.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **common)
    own.train_from_iterator([TEXT] * 4, trainer)
    if kind == "trimming":
        from tokenizers import processors

        own.post_processor = processors.ByteLevel(trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=own, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
