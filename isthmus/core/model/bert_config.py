"""A BERT's sizes: written out, or those of a published BERT or BLIP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field, PositiveInt

from isthmus.core.contracts import PartConfig, Place
from isthmus.core.model.bert import EPS, BertShape
from isthmus.core.model.pretrained import label, published_config
from isthmus.core.model.tokenizer import BpeConfig, recorded
from isthmus.errors import PartError

BASE = {"dim": 768, "layers": 12, "heads": 12, "hidden": 3072, "positions": 512}
"""Sizes of what is built from scratch, where none are given."""
BERT, BLIP = "bert", "blip"


class BertConfig(PartConfig):
    """Sizes of a part that is a BERT, or whose weights it begins from."""

    model: str | None = None
    """Hub id (`bert-base-uncased`) or folder of what it begins from; absent, weights are drawn."""
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
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout while it trains: of hidden states, and of attention weights."""
    tokenizer: str | BpeConfig | None = None
    """Hub id or folder; `{vocab_size: 512}` trains one on the run's own text; absent, that of
    `model`."""

    @property
    def pretrained(self) -> str | None:
        return self.model

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
                "a BERT from scratch needs one: `bert-base-uncased`, another hub id, a folder, or "
                "{vocab_size: 512} to train one on the run's own text",
            )

    def written_out(self, shape: BertShape) -> dict[str, Any]:
        """What of a blueprint follows from the shape."""
        sizes = {name: getattr(shape, name) for name in (*BASE, "words")}
        return sizes | {"model": None, "tokenizer": recorded(self.tokenizer)}


def sizes_of(config: BertConfig, families: tuple[str, ...] = (BERT,)) -> dict[str, Any]:
    """Arguments of a BertShape, as far as they follow from sizes, or from `model`."""
    if config.model is None:
        sizes = {name: getattr(config, name) or usual for name, usual in BASE.items()}
        return sizes | {"words": config.words or 0}
    said = published_config(config, config.model)
    family = said.get("model_type")
    if family not in families:
        raise PartError(
            f"{label(config)}: {config.model} is a {family!r} model; this one begins from a "
            f"{' or a '.join(families)}"
        )
    from transformers import BertConfig as Published
    from transformers import BlipConfig

    found: Any = Published.from_dict(said)
    if family == BLIP:
        found = BlipConfig.from_dict(said).text_config
    if found.hidden_act != "gelu":
        raise PartError(
            f"{label(config)}: {config.model} has {found.hidden_act!r} layers, not gelu"
        )
    if found.layer_norm_eps != EPS:
        raise PartError(
            f"{label(config)}: {config.model} adds {found.layer_norm_eps:g} to a variance; a BERT "
            f"here adds {EPS:g}"
        )
    return {
        "dim": found.hidden_size,
        "layers": found.num_hidden_layers,
        "heads": found.num_attention_heads,
        "hidden": found.intermediate_size,
        "positions": found.max_position_embeddings,
        "words": found.vocab_size,
    }
