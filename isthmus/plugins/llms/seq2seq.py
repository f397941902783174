"""Any encoder-decoder language model of the transformers library, as a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field, NonNegativeInt
from torch import nn

from isthmus import hookimpl
from isthmus.core.contracts import Seq2SeqLLM
from isthmus.core.model.across import Across
from isthmus.core.model.draw import Init
from isthmus.core.model.encoder_decoder import EncoderDecoder
from isthmus.core.model.language import Families, LanguageConfig
from isthmus.core.model.tokenizer import Texts

OWN_BIAS, MEMORY_BIAS = 2, 5
"""Where a T5 block takes the position bias of its own tokens, and that of the memory's."""


class Seq2Seq(EncoderDecoder, name="seq2seq"):
    """T5, FLAN-T5, mT5, BART and the other text encoder-decoders of transformers: image and
    prompt enter the encoder, the decoder answers."""

    class Config(LanguageConfig, Seq2SeqLLM.Config):
        """Configuration of `seq2seq`; an inline `config` names its family: `model_type: t5`."""

        families = Families(
            kind="encoder-decoder",
            auto="AutoModelForSeq2SeqLM",
            listed="MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
            examples="t5, mt5 or bart",
        )

        model: str | None = None
        """Hub id (`google/flan-t5-xl`) or local folder of published weights."""

        init: Init = "stock"
        """How weights from scratch are drawn. T5's own way follows the width already, and counts
        on queries drawn smaller; BART's does not, and small ones want `scaled`."""

        starts: tuple[NonNegativeInt, ...] | None = Field(default=None, min_length=1)
        """Ids that every answer follows on; absent, as published, which for T5 is the padding."""

    config: Config

    def __init__(
        self, config: Config, tokenizer_object: Any = None, texts: Texts | None = None
    ) -> None:
        tokenizer = config.choose_tokenizer(tokenizer_object, texts)
        # T5's convention: the decoder starts from what pads.
        start = 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        model = config.build_model(tokenizer, decoder_start_token_id=start)
        for stack in (model.get_encoder(), model.get_decoder()):
            _lessen_bias(stack)
        super().__init__(config, tokenizer, model, config.starts)

    def blueprint(self) -> Config:
        said = {**self.config.of_model(self.model), "starts": self.starts}
        return self.config.model_copy(update=said)


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


@hookimpl
def register_llms(register: Callable[[type], None]) -> None:
    register(Seq2Seq)
