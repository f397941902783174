"""What language models of transformers have in common, decoders and encoder-decoders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from isthmus.core.contracts import Place
from isthmus.core.model.positions import most_tokens
from isthmus.core.model.pretrained import (
    TransformersConfig,
    build_scratch,
    load_published,
    published_config,
    written_out,
    wrong_shape,
)
from isthmus.core.model.tokenizer import BpeConfig, Texts, choose_tokenizer, recorded
from isthmus.core.model.trial import EAGER
from isthmus.core.model.vocabulary import own_shape, row_for_every_token, without_ids
from isthmus.errors import did_you_mean


@dataclass(frozen=True)
class Families:
    """The model families that one of transformers' automatic classes builds."""

    kind: str
    """What they are called: `causal`."""
    auto: str
    """The class, by name: `AutoModelForCausalLM`."""
    listed: str
    """transformers' table of them, in its `modeling_auto`."""
    examples: str
    """Some of them, for a message."""

    @property
    def auto_class(self) -> Any:
        import transformers

        return getattr(transformers, self.auto)

    def why_not(self, name: Any) -> str:
        """Why this names none of them; nothing where it does."""
        from transformers.models.auto import modeling_auto

        known = getattr(modeling_auto, self.listed)
        if isinstance(name, str) and name in known:
            return ""
        near = did_you_mean(str(name), known)
        return (
            f"{name!r} is no {self.kind} family of transformers; write one, like "
            f"{self.examples}.{near}"
        )


class LanguageConfig(TransformersConfig):
    """Base of the configuration of an LLM that transformers implements; an inline `config` names
    its family by `model_type`."""

    families: ClassVar[Families]
    """What `model_type` may be."""

    tokenizer: str | BpeConfig | None = None
    """Hub id or folder; `{vocab_size: 512}` trains one on the run's own text; absent, the
    published model's own."""

    @property
    def most_tokens(self) -> int | None:
        return most_tokens(self)

    def check_shape(self, shape: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
        from transformers import CONFIG_MAPPING

        rest = {key: value for key, value in shape.items() if key != "model_type"}
        family = shape.get("model_type")
        if why := self.families.why_not(family):
            yield ("model_type",), why
        else:
            own = CONFIG_MAPPING[family]
            yield from wrong_shape(own, without_ids(own, rest))

    def choose_tokenizer(self, tokenizer_object: Any, texts: Texts | None) -> Any:
        """The one that is given, or what `tokenizer:` asks for."""
        if tokenizer_object is not None:
            return tokenizer_object
        return choose_tokenizer(self, self.tokenizer, self.model, texts)

    def build_model(self, tokenizer: Any, **values: Any) -> Any:
        """transformers' model, with a row for every token of the tokenizer. `values` are those of
        an inline `config` that does not say."""
        auto = self.families.auto_class
        if self.model is None:
            shape = own_shape(self, tokenizer, **values)
            model = build_scratch(self, auto.from_config, shape, attn_implementation=EAGER)
        else:
            published_config(self, self.model)  # says clearly what is wrong with a folder
            model = load_published(self, auto, self.model, attn_implementation=EAGER)
        row_for_every_token(model, tokenizer)
        return model

    def of_model(self, model: Any) -> dict[str, Any]:
        """What of a blueprint follows from the model that was built."""
        shape = {
            **written_out(model.config),
            "model_type": model.config.model_type,
            "vocab_size": model.get_input_embeddings().weight.shape[0],
        }
        return {"model": None, "config": shape, "tokenizer": recorded(self.tokenizer)}
