"""The text towers of contrastive models of the transformers library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from torch import Tensor

from isthmus.core.contracts import Place, TextEncoder
from isthmus.core.model.pretrained import (
    TransformersConfig,
    build_scratch,
    label,
    load_published,
    published_config,
    scratch_config,
    written_out,
    wrong_shape,
)
from isthmus.core.model.tokenizer import BpeConfig, Texts, at_most, choose_tokenizer, recorded
from isthmus.core.model.vocabulary import IDS, without_ids
from isthmus.errors import PartError


class TextTower(TextEncoder, ABC):
    """A text tower of transformers: it reads text alone. (texts tokens) -> (texts tokens dim)"""

    model_types: ClassVar[tuple[str, ...]]
    """Values of `model_type` in a config.json that this family can load."""

    class Config(TransformersConfig, TextEncoder.Config):
        """Base of a text tower's configuration."""

        tokenizer: str | BpeConfig | None = None
        """Hub id or folder; `{vocab_size: 512}` trains one on the run's own text; absent, the
        published model's own."""

        def check(self) -> Iterator[tuple[Place, str]]:
            yield from super().check()
            written = (self.config or {}).get("vocab_size")  # the tokenizer then comes from outside
            if self.model is None and self.tokenizer is None and written is None:
                yield (
                    ("tokenizer",),
                    "a text encoder from scratch needs one: a hub id, a folder, or {vocab_size: "
                    "512} to train one on the run's own text",
                )

        def check_shape(self, shape: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
            tower: type[TextTower] = self.owner  # type: ignore[assignment]
            family = tower.classes()[1]
            yield from wrong_shape(family, without_ids(family, shape))

    config: Config

    def __init__(
        self, config: Config, tokenizer_object: Any = None, texts: Texts | None = None
    ) -> None:
        super().__init__()
        self.config = config
        if tokenizer_object is None:
            tokenizer_object = choose_tokenizer(config, config.tokenizer, config.model, texts)
        self.tokenizer = tokenizer_object
        self.model = self._load()
        shape = self.model.config
        self.tokenizer = at_most(tokenizer_object, shape.max_position_embeddings)
        if len(self.tokenizer) > shape.vocab_size:
            raise PartError(
                f"{label(config)}: the tokenizer has {len(self.tokenizer)} tokens, and the model "
                f"{shape.vocab_size} rows for them; take the tokenizer that belongs to it"
            )
        self.dim = self.pooled_dim = int(shape.hidden_size)

    @classmethod
    @abstractmethod
    def classes(cls) -> tuple[Any, Any]:
        """transformers' model and configuration class of this family."""

    @abstractmethod
    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(texts tokens) -> (texts tokens dim)"""

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        visual: Tensor | None = None,
        visual_mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        if visual is not None:
            raise PartError(
                f"{label(self.config)}: it reads text alone; of what is there, `bert` can look at "
                "pictures"
            )
        return self.hidden(ids, mask)

    def blueprint(self) -> Config:
        shape = written_out(self.model.config)
        trained = recorded(self.config.tokenizer)
        said = {"model": None, "config": shape, "tokenizer": trained}
        return self.config.model_copy(update=said)

    def _load(self) -> Any:
        model_class, config_class = self.classes()
        if self.config.model is None:
            values = dict(self.config.config or {})
            values.setdefault("vocab_size", len(self.tokenizer))
            for key in IDS:
                values.setdefault(key, getattr(self.tokenizer, key))
            shape = scratch_config(self.config, config_class, values)
            return build_scratch(self.config, model_class, shape)
        found = published_config(self.config, self.config.model).get("model_type")
        if found not in self.model_types:
            raise PartError(
                f"{label(self.config)}: {self.config.model} is a {found!r} model; this text "
                f"encoder loads {' or '.join(self.model_types)}"
            )
        return load_published(self.config, model_class, self.config.model)
