"""Any encoder-decoder language model of the transformers library, as a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from pydantic import Field, NonNegativeInt
from torch import nn

from isthmus import hookimpl
from isthmus.core.contracts import Place, Seq2SeqLLM
from isthmus.core.model.across import Across
from isthmus.core.model.draw import Init
from isthmus.core.model.encoder_decoder import EncoderDecoder
from isthmus.core.model.positions import most_tokens
from isthmus.core.model.pretrained import (
    TransformersConfig,
    build_scratch,
    load_published,
    published_config,
    written_out,
    wrong_shape,
)
from isthmus.core.model.tokenizer import BpeConfig, Texts, choose_tokenizer
from isthmus.core.model.trial import EAGER
from isthmus.core.model.vocabulary import own_shape, row_for_every_token
from isthmus.errors import did_you_mean

OWN_BIAS, MEMORY_BIAS = 2, 5
"""Where a T5 block takes the position bias of its own tokens, and that of the memory's."""


class Seq2Seq(EncoderDecoder, name="seq2seq"):
    """T5, FLAN-T5, mT5, BART and the other text encoder-decoders of transformers: image and
    prompt enter the encoder, the decoder answers."""

    class Config(TransformersConfig, Seq2SeqLLM.Config):
        """Configuration of `seq2seq`; an inline `config` names its family: `model_type: t5`."""

        model: str | None = None
        """Hub id (`google/flan-t5-xl`) or local folder of published weights."""

        tokenizer: str | BpeConfig | None = None
        """Hub id or folder; `{vocab_size: 512}` trains one on the run's own text; absent, the
        published model's own."""

        init: Init = "stock"
        """How weights from scratch are drawn. T5's own way follows the width already, and counts
        on queries drawn smaller; BART's does not, and small ones want `scaled`."""

        starts: tuple[NonNegativeInt, ...] | None = Field(default=None, min_length=1)
        """Ids that every answer follows on; absent, as published, which for T5 is the padding."""

        @property
        def most_tokens(self) -> int | None:
            return most_tokens(self)

        def check_shape(self, shape: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
            from transformers import CONFIG_MAPPING

            rest = {key: value for key, value in shape.items() if key != "model_type"}
            family = shape.get("model_type")
            if why := _no_family(family):
                yield ("model_type",), why
            else:
                yield from wrong_shape(CONFIG_MAPPING[family], rest)

    config: Config

    def __init__(
        self, config: Config, tokenizer_object: Any = None, texts: Texts | None = None
    ) -> None:
        tokenizer = tokenizer_object
        if tokenizer is None:
            tokenizer = choose_tokenizer(config, config.tokenizer, config.model, texts)
        super().__init__(config, tokenizer, _model(config, tokenizer), config.starts)

    def blueprint(self) -> Config:
        shape = {
            **written_out(self.model.config),
            "model_type": self.model.config.model_type,
            "vocab_size": self.model.get_input_embeddings().weight.shape[0],
        }
        trained = self.config.tokenizer if isinstance(self.config.tokenizer, BpeConfig) else None
        own = {"model": None, "config": shape, "tokenizer": trained, "starts": self.starts}
        return self.config.model_copy(update=own)


def _model(config: Seq2Seq.Config, tokenizer: Any) -> Any:
    """transformers' model, with a row for every token of the tokenizer."""
    from transformers import AutoModelForSeq2SeqLM

    if config.model is None:
        # T5's convention: the decoder starts from what pads.
        start = 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        shape = own_shape(config, tokenizer, decoder_start_token_id=start)
        model = build_scratch(
            config, AutoModelForSeq2SeqLM.from_config, shape, attn_implementation=EAGER
        )
    else:
        published_config(config, config.model)  # says clearly what is wrong with a folder
        model = load_published(
            config, AutoModelForSeq2SeqLM, config.model, attn_implementation=EAGER
        )
    row_for_every_token(model, tokenizer)
    for stack in (model.get_encoder(), model.get_decoder()):
        _lessen_bias(stack)
    return model


def _lessen_bias(stack: nn.Module) -> None:
    """Let T5's blocks have their position bias by places in a sample, for as many as the longest.

    Left alone, the first block makes one for every two tokens of a pack, and hands it on: 8 GiB
    at 8,192 tokens and 32 heads.
    """
    for block in next((c for c in stack.children() if isinstance(c, nn.ModuleList)), ()):
        parts = getattr(block, "layer", None)
        attention = getattr(parts[0], "SelfAttention", None) if parts else None
        if getattr(attention, "has_relative_attention_bias", False):
            block.register_forward_pre_hook(_give_bias, with_kwargs=True)


def _give_bias(block: Any, inputs: tuple[Any, ...], more: dict[str, Any]) -> Any:
    segments = more.get("segments")
    if segments is None or len(inputs) <= MEMORY_BIAS:
        return None
    own = segments.own if isinstance(segments, Across) else segments
    given = list(inputs)
    device = inputs[0].device
    given[OWN_BIAS] = block.layer[0].SelfAttention.compute_bias(
        own.longest, own.longest, device=device
    )
    given[MEMORY_BIAS] = torch.zeros(1, 1, 1, 1, device=device)
    return tuple(given), more


def _no_family(name: Any) -> str:
    """Why this names no encoder-decoder family of transformers; nothing where it does."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES as FAMILIES,
    )

    if isinstance(name, str) and name in FAMILIES:
        return ""
    near = did_you_mean(str(name), FAMILIES)
    return (
        f"{name!r} is no encoder-decoder family of transformers; write one, like t5, mt5 or "
        f"bart.{near}"
    )


@hookimpl
def register_llms(register: Callable[[type], None]) -> None:
    register(Seq2Seq)
