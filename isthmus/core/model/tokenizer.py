"""The tokenizer of a language model: published, or trained on the run's own text."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import Field

from isthmus.core.contracts import Config, PartConfig
from isthmus.core.model.pretrained import label, located, quiet, reachable
from isthmus.errors import PartError

Texts = Callable[[], Iterable[str]]
"""Gives the run's text, from the beginning each time."""

PAD, START, STOP = "<pad>", "<s>", "</s>"
SPECIAL = (PAD, START, STOP)
"""Control tokens of a trained tokenizer; their ids are 0, 1 and 2, as in LLaMA."""
BYTES = 256


class BpeConfig(Config):
    """A byte-level BPE, trained on the run's own text. It can write every string."""

    vocab_size: int = Field(ge=BYTES + len(SPECIAL))
    """Tokens, with the 256 bytes and the 3 control tokens among them; at most so many."""


def train_bpe(texts: Iterable[str], vocab_size: int) -> Any:
    """A transformers fast tokenizer that begins every text with `<s>`.

    The same texts give the same tokenizer, in whatever order they come.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A",
        pair=f"{START} $A {START} $B",
        special_tokens=[(START, SPECIAL.index(START))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=STOP,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(part: PartConfig, name: str, subfolder: str = "") -> Any:
    """The fast tokenizer of a hub id or folder, or of a folder in it. Raises InputError where it
    cannot be had."""
    from transformers import AutoTokenizer

    place = located(part, name)
    with quiet(), reachable(part, name):
        tokenizer = AutoTokenizer.from_pretrained(
            place, subfolder=subfolder, trust_remote_code=False
        )
    if not tokenizer.is_fast:
        raise PartError(
            f"{label(part)}: the tokenizer of {name} is a slow one; labels are found by character "
            "offsets, which only fast tokenizers (tokenizer.json) give"
        )
    return tokenizer


def choose_tokenizer(
    part: PartConfig, wanted: str | BpeConfig | None, model: str | None, texts: Texts | None
) -> Any:
    """What `tokenizer:` asks for; absent, the published model's own."""
    if isinstance(wanted, BpeConfig):
        if texts is None:
            raise PartError(
                f"{label(part)}: tokenizer: {{vocab_size: {wanted.vocab_size}}} is trained on the "
                "run's own text; pass `texts`, or `tokenizer_object` where one was trained before"
            )
        return train_bpe(texts(), wanted.vocab_size)
    name = wanted or model
    if name is None:
        raise PartError(
            f"{label(part)}: a model from scratch needs `tokenizer:`, a hub id, a folder, or "
            "{vocab_size: 512} to train one on the run's own text"
        )
    return load_tokenizer(part, name)


def at_most(tokenizer: Any, tokens: int) -> Any:
    """A copy of it that cuts a text after so many tokens, or sooner where it already did."""
    shorter = copy.copy(tokenizer)
    shorter.model_max_length = min(tokenizer.model_max_length, tokens)
    return shorter


def recorded(wanted: str | BpeConfig | None) -> BpeConfig | None:
    """What a blueprint says of `tokenizer:`. One that was trained is known by its size; one that
    was published comes from the checkpoint, whatever its name was."""
    return wanted if isinstance(wanted, BpeConfig) else None
