"""Any causal language model of the transformers library, as a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from isthmus import hookimpl
from isthmus.core.contracts import CausalLLM, Place
from isthmus.core.model.decoder import Decoder
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
from isthmus.core.model.vocabulary import IDS, own_shape, row_for_every_token
from isthmus.errors import did_you_mean


class Causal(Decoder, name="causal"):
    """LLaMA, Vicuna, Qwen, OPT, Phi, Mistral, Gemma and the other decoders of transformers."""

    class Config(TransformersConfig, CausalLLM.Config):
        """Configuration of `causal`; an inline `config` names its family: `model_type: llama`."""

        model: str | None = None
        """Hub id (`lmsys/vicuna-7b-v1.5`) or local folder of published weights."""

        tokenizer: str | BpeConfig | None = None
        """Hub id or folder; `{vocab_size: 512}` trains one on the run's own text; absent, the
        published model's own."""
        attention: Literal["causal", "prefix"] = "causal"
        """`causal`: a token sees what stands before it. `prefix`: image and prompt, up to the
        first answer, see each other both ways (SimVLM, PaliGemma)."""

        @property
        def sees_both_ways(self) -> bool:
            return self.attention == "prefix"

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
                yield from wrong_shape(CONFIG_MAPPING[family], dict.fromkeys(IDS) | rest)

    config: Config

    def __init__(
        self, config: Config, tokenizer_object: Any = None, texts: Texts | None = None
    ) -> None:
        tokenizer = tokenizer_object
        if tokenizer is None:
            tokenizer = choose_tokenizer(config, config.tokenizer, config.model, texts)
        model = _model(config, tokenizer)
        super().__init__(config, tokenizer, model, config.attention == "prefix")

    def blueprint(self) -> Config:
        shape = {
            **written_out(self.model.config),
            "model_type": self.model.config.model_type,
            "vocab_size": self.model.get_input_embeddings().weight.shape[0],
        }
        trained = self.config.tokenizer if isinstance(self.config.tokenizer, BpeConfig) else None
        return self.config.model_copy(update={"model": None, "config": shape, "tokenizer": trained})


def _model(config: Causal.Config, tokenizer: Any) -> Any:
    """transformers' model, with a row for every token of the tokenizer."""
    from transformers import AutoModelForCausalLM

    if config.model is None:
        shape = own_shape(config, tokenizer)
        model = build_scratch(
            config, AutoModelForCausalLM.from_config, shape, attn_implementation=EAGER
        )
    else:
        published_config(config, config.model)  # says clearly what is wrong with a folder
        model = load_published(
            config, AutoModelForCausalLM, config.model, attn_implementation=EAGER
        )
    row_for_every_token(model, tokenizer)
    return model


def _no_family(name: Any) -> str:
    """Why this names no causal family of transformers; nothing where it does."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if isinstance(name, str) and name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return ""
    near = did_you_mean(str(name), MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    return (
        f"{name!r} is no causal family of transformers; write one, like llama, qwen2, opt or "
        f"gpt2.{near}"
    )


@hookimpl
def register_llms(register: Callable[[type], None]) -> None:
    register(Causal)
