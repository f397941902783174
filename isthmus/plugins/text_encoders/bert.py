"""BERT as a text encoder, which may look at pictures: ALBEF's and BLIP's text model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from isthmus import hookimpl
from isthmus.core.contracts import Place, TextEncoder
from isthmus.core.model.bert import Bert, BertShape
from isthmus.core.model.draw import draw_scaled
from isthmus.core.model.pretrained import label, load_published, published_config
from isthmus.core.model.tokenizer import BpeConfig, Texts, choose_tokenizer
from isthmus.errors import PartError

BASE = {"dim": 768, "layers": 12, "heads": 12, "hidden": 3072, "positions": 512}
"""Sizes of what is built from scratch, where none are given."""

_LAYERS = {
    "attention.self.query": "attention.q_proj",
    "attention.self.key": "attention.k_proj",
    "attention.self.value": "attention.v_proj",
    "attention.output.dense": "attention.out_proj",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "layers.fc1",
    "output.dense": "layers.fc2",
    "output.LayerNorm": "layers_norm",
}
"""Layers of a block, by transformers' names -> ours."""


class BertText(TextEncoder, name="bert"):
    """BERT (Devlin et al. 2018, arXiv:1810.04805), in both directions or causal, with
    cross-attention to a picture where it is asked for (BLIP, Li et al. 2022, arXiv:2201.12086);
    a whole text is its first token. (texts tokens) -> (texts tokens dim)"""

    class Config(TextEncoder.Config):
        """Configuration of `bert`."""

        model: str | None = None
        """Hub id (`bert-base-uncased`) or folder of a BERT that it begins from; absent, weights are
        drawn."""
        dim: PositiveInt | None = None
        """Width; absent, that of `model`, or 768."""
        layers: PositiveInt | None = None
        """Blocks; absent, those of `model`, or 12."""
        heads: PositiveInt | None = None
        """Attention heads; absent, those of `model`, or 12."""
        hidden: PositiveInt | None = None
        """Width inside feed-forward layers; absent, that of `model`, or 3072."""
        positions: PositiveInt | None = None
        """Longest text in tokens, longer ones are cut; absent, that of `model`, or 512."""
        words: PositiveInt | None = None
        """Rows of the word table; absent, as many as there are tokens."""
        cross: bool = False
        """Let every block look at the picture, too, where an objective shows it one. BERT has no
        weights for that: they are drawn."""
        dropout: float = Field(default=0.1, ge=0, lt=1)
        """Dropout while it trains: of hidden states, and of attention weights."""
        tokenizer: str | BpeConfig | None = None
        """Hub id or folder; `{vocab_size: 512}` trains one on the run's own text; absent, that of
        `model`."""

        @property
        def pretrained(self) -> str | None:
            return self.model

        @property
        def all_pretrained(self) -> bool:
            return self.model is not None and not self.cross

        def check(self) -> Iterator[tuple[Place, str]]:
            dim, heads = (getattr(self, name) or BASE[name] for name in ("dim", "heads"))
            if self.model is not None:
                for name in (*BASE, "words"):
                    if getattr(self, name) is not None:
                        yield (name,), "comes with `model`; leave one of the two out"
            elif dim % heads:
                yield ("heads",), f"{heads} heads cannot share {dim} numbers; write a divisor"
            if not (self.model or self.tokenizer or self.words):
                yield (
                    ("tokenizer",),
                    "a text encoder from scratch needs one: `bert-base-uncased`, another hub id, a "
                    "folder, or {vocab_size: 512} to train one on the run's own text",
                )

    config: Config

    def __init__(
        self,
        config: Config,
        visual_dim: int | None = None,
        tokenizer_object: Any = None,
        texts: Texts | None = None,
    ) -> None:
        super().__init__()
        self.config, self.visual_dim = config, visual_dim
        if config.cross and visual_dim is None:
            raise PartError(
                f"{label(config)}: cross: there is no encoder that it could look at; write `cross: "
                "false`, or give the model an `encoder`"
            )
        if tokenizer_object is None:
            tokenizer_object = choose_tokenizer(config, config.tokenizer, config.model, texts)
        self.tokenizer = copy.copy(tokenizer_object)
        sizes = _sizes(config)
        longest = min(self.tokenizer.model_max_length, sizes["positions"])
        self.tokenizer.model_max_length = longest
        sizes["words"] = max(sizes["words"], len(self.tokenizer))
        looks = visual_dim if config.cross else None
        self.bert = Bert(BertShape(**sizes, visual_dim=looks, dropout=config.dropout))
        self.dim = self.pooled_dim = sizes["dim"]
        draw_scaled(self)
        if config.model is not None:
            _fill(config, config.model, self.bert)

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        visual: Tensor | None = None,
        visual_mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        hidden: Tensor = self.bert(ids, mask, visual, visual_mask, causal)
        return hidden

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self(ids, mask)[:, 0]

    def blueprint(self) -> Config:
        shape = self.bert.shape
        sizes = {name: getattr(shape, name) for name in (*BASE, "words")}
        trained = self.config.tokenizer if isinstance(self.config.tokenizer, BpeConfig) else None
        return self.config.model_copy(update=sizes | {"model": None, "tokenizer": trained})


def _sizes(config: BertText.Config) -> dict[str, int]:
    if config.model is None:
        sizes = {name: getattr(config, name) or usual for name, usual in BASE.items()}
        return sizes | {"words": config.words or 0}
    said = published_config(config, config.model)
    if said.get("model_type") != "bert":
        raise PartError(
            f"{label(config)}: {config.model} is a {said.get('model_type')!r} model; this one "
            "begins from a bert"
        )
    from transformers import BertConfig

    found = BertConfig.from_dict(said)
    if found.hidden_act != "gelu":
        raise PartError(
            f"{label(config)}: {config.model} has {found.hidden_act!r} layers, not gelu"
        )
    return {
        "dim": found.hidden_size,
        "layers": found.num_hidden_layers,
        "heads": found.num_attention_heads,
        "hidden": found.intermediate_size,
        "positions": found.max_position_embeddings,
        "words": found.vocab_size,
    }


def _fill(config: BertText.Config, name: str, bert: Bert) -> None:
    """BERT's weights over those that were drawn; words that it has no row for begin as the mean."""
    from transformers import BertModel

    found = load_published(config, BertModel, name, add_pooling_layer=False).state_dict()
    table = found["embeddings.word_embeddings.weight"]
    more = len(bert.words.weight) - len(table)
    first = found["embeddings.token_type_embeddings.weight"][0]
    own = {
        "words.weight": torch.cat([table, table.mean(dim=0).expand(more, -1)]),
        "positions.weight": found["embeddings.position_embeddings.weight"] + first,
        "norm.weight": found["embeddings.LayerNorm.weight"],
        "norm.bias": found["embeddings.LayerNorm.bias"],
    }
    for number in range(bert.shape.layers):
        for theirs, ours in _LAYERS.items():
            for kind in ("weight", "bias"):
                key = f"encoder.layer.{number}.{theirs}.{kind}"
                own[f"blocks.{number}.{ours}.{kind}"] = found[key]
    bert.load_state_dict(bert.state_dict() | own)


@hookimpl
def register_text_encoders(register: Callable[[type], None]) -> None:
    register(BertText)
