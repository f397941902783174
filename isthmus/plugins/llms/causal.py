"""Any causal language model of the transformers library, as a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from isthmus import hookimpl
from isthmus.core.contracts import CausalLLM
from isthmus.core.model.decoder import Decoder
from isthmus.core.model.language import Families, LanguageConfig
from isthmus.core.model.tokenizer import Texts


class Causal(Decoder, name="causal"):
    """LLaMA, Vicuna, Qwen, OPT, Phi, Mistral, Gemma and the other decoders of transformers."""

    class Config(LanguageConfig, CausalLLM.Config):
        """Configuration of `causal`; an inline `config` names its family: `model_type: llama`."""

        families = Families(
            kind="causal",
            auto="AutoModelForCausalLM",
            listed="MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
            examples="llama, qwen2, opt or gpt2",
        )

        model: str | None = None
        """Hub id (`lmsys/vicuna-7b-v1.5`) or local folder of published weights."""
        attention: Literal["causal", "prefix"] = "causal"
        """`causal`: a token sees what stands before it. `prefix`: image and prompt, up to the
        first answer, see each other both ways (SimVLM, PaliGemma)."""

        @property
        def sees_both_ways(self) -> bool:
            return self.attention == "prefix"

    config: Config

    def __init__(
        self, config: Config, tokenizer_object: Any = None, texts: Texts | None = None
    ) -> None:
        tokenizer = config.choose_tokenizer(tokenizer_object, texts)
        model = config.build_model(tokenizer)
        super().__init__(config, tokenizer, model, config.attention == "prefix")

    def blueprint(self) -> Config:
        return self.config.model_copy(update=self.config.of_model(self.model))


@hookimpl
def register_llms(register: Callable[[type], None]) -> None:
    register(Causal)
