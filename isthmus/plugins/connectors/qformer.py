"""BLIP-2's Q-Former: learned queries that run through BERT and gather what a picture shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from einops import rearrange
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from isthmus import hookimpl
from isthmus.core.contracts import ConnectorText, Features, Grids, Place, QueryConnector
from isthmus.core.model.blocks import batched
from isthmus.core.model.draw import draw_scaled
from isthmus.core.model.match_reader import ReadsMatches
from isthmus.core.model.pretrained import label
from isthmus.core.model.qformer import QFormer, Shape
from isthmus.core.model.qformer_reader import QFormerReader
from isthmus.core.model.qformer_weights import (
    INSTRUCTBLIP,
    fill,
    fill_projection,
    published_shape,
)
from isthmus.core.model.tokenizer import (
    BpeConfig,
    Texts,
    at_most,
    choose_tokenizer,
    load_tokenizer,
    recorded,
)
from isthmus.errors import InputError, PartError

Reads = Literal["none", "instruction", "objective"]
"""What a text branch is for."""
BERT_BASE = {"dim": 768, "layers": 12, "heads": 12, "hidden": 3072, "every": 2, "positions": 512}
"""Sizes of what is built from scratch, where none are given."""


class Qformer(QueryConnector, QFormerReader, name="qformer"):
    """Q-Former (Li et al. 2023, arXiv:2301.12597). (features dim_in) -> (queries dim_out)

    With `text: instruction` it is InstructBLIP's (Dai et al. 2023, arXiv:2305.06500).
    """

    stands_alone = True

    class Config(QueryConnector.Config, ReadsMatches):
        """Configuration of `qformer`."""

        model: str | None = None
        """Hub id or folder of a BERT (`bert-base-uncased`), a BLIP-2 or an InstructBLIP whose
        weights it begins from; absent, they are drawn. BLIP-2's projection comes with them where
        it has the LLM's width."""
        queries: PositiveInt = 32
        """Learned queries: the visual tokens of an image, whatever its size."""
        dim: PositiveInt | None = None
        """Width; absent, that of `model`, or 768."""
        layers: PositiveInt | None = None
        """Blocks; absent, those of `model`, or 12."""
        heads: PositiveInt | None = None
        """Attention heads; absent, those of `model`, or 12."""
        hidden: PositiveInt | None = None
        """Width inside feed-forward layers; absent, that of `model`, or 3072."""
        every: PositiveInt | None = None
        """One block of so many looks at the picture, the first one among them; absent, 2."""
        dropout: float = Field(default=0.1, ge=0, lt=1)
        """Dropout while it trains: of hidden states, and of attention weights."""
        text: Reads = "none"
        """`instruction`: it reads the words that a picture comes with (InstructBLIP);
        `objective`: it has the layers for text, which objectives use and visual tokens do not."""
        tokenizer: str | BpeConfig | None = None
        """Of `text`: hub id or folder; `{vocab_size: 512}` trains one on the run's own text;
        absent, that of `model`."""
        positions: PositiveInt | None = None
        """Longest `text` in tokens, longer ones are cut; absent, that of `model`, or 512."""
        words: PositiveInt | None = None
        """Rows of the word table of `text`; absent, as many as there are tokens."""

        @property
        def pretrained(self) -> str | None:
            return self.model

        @property
        def all_pretrained(self) -> bool:
            return False

        @property
        def reads(self) -> bool:
            return self.text != "none"

        def num_tokens(self, grids: Grids) -> int:
            return self.queries

        def check(self) -> Iterator[tuple[Place, str]]:
            given = [name for name in (*BERT_BASE, "words") if getattr(self, name) is not None]
            dim, heads = (getattr(self, name) or BERT_BASE[name] for name in ("dim", "heads"))
            if self.model is not None:
                for name in given:
                    yield (name,), "comes with `model`; leave one of the two out"
                yield from _in_folder(self)
            elif dim % heads:
                yield ("heads",), f"{heads} heads cannot share {dim} numbers; write a divisor"
            for name in ("tokenizer", "words") if self.text == "none" else ():
                if getattr(self, name) is not None:
                    yield (name,), "there is no text to read; write `text: instruction`"
            if self.text != "none" and not (self.tokenizer or self.model or self.words):
                yield (
                    ("tokenizer",),
                    f"`text: {self.text}` is read in tokens of its own; write `tokenizer: "
                    "bert-base-uncased`, another hub id or a folder, or {vocab_size: 512} to train "
                    "one on the run's own text, or leave out `text`",
                )

    config: Config

    def __init__(
        self,
        config: Config,
        dim_in: int,
        dim_out: int | None,
        tokenizer_object: Any = None,
        texts: Texts | None = None,
    ) -> None:
        super().__init__(config, dim_in, dim_out)
        shape, family = _shape(config, dim_in)
        if config.text != "none":
            if tokenizer_object is None:
                tokenizer_object = _tokenizer(config, family, texts)
            self.tokenizer = at_most(tokenizer_object, shape["positions"])
            shape["words"] = max(config.words or shape["words"], len(self.tokenizer))
        self.qformer = QFormer(Shape(**shape, dropout=config.dropout))
        self.projection: nn.Linear | None = None
        if dim_out is not None:
            self.projection = nn.Linear(self.qformer.shape.dim, dim_out)
        draw_scaled(self)
        if config.model is not None:
            fill(config, config.model, self.qformer, self.projection)

    def join(self, dim_out: int) -> None:
        self.dim_out, self.projection = dim_out, nn.Linear(self.qformer.shape.dim, dim_out)
        draw_scaled(self.projection)
        if self.config.model is not None:
            fill_projection(self.config, self.config.model, self.projection)

    def forward(self, features: Features, text: ConnectorText | None = None) -> Tensor:
        picture = batched(features)
        if self.tokenizer is None:
            seen = self.qformer.look(picture)
        else:
            if text is None or self.config.text != "instruction":
                text = _nothing(picture[0])
            seen, _ = self.qformer.look_and_read(picture, text)
        if self.projection is None:
            raise PartError("connector qformer: there is no llm that visual tokens could be for")
        return rearrange(self.projection(seen), "images queries dim -> (images queries) dim")

    def blueprint(self) -> Config:
        shape = self.qformer.shape
        sizes = {name: getattr(shape, name) for name in BERT_BASE}
        trained = recorded(self.config.tokenizer)
        said = {"words": shape.words or None, "tokenizer": trained, "model": None}
        return self.config.model_copy(update=sizes | said)


def _nothing(values: Tensor) -> ConnectorText:
    """No words for every image: the queries look alone, and the text's layers are in the graph."""
    none = torch.zeros(len(values), 0, dtype=torch.long, device=values.device)
    return ConnectorText(none, none.bool())


def _unlike(config: Qformer.Config, name: str, found: Shape) -> Iterator[tuple[Place, str]]:
    """What the configuration says otherwise than `model` has it."""
    if found.queries not in (0, config.queries):
        there = found.queries
        yield ("queries",), f"{name} has {there}, not {config.queries}; write `queries: {there}`"
    if config.text != "none" and not found.words:
        yield (
            ("text",),
            f"{name} has no layers for text; write `text: none`, or begin from a BERT, an "
            "InstructBLIP, or a BLIP-2 that was made to compare pictures and texts",
        )


def _in_folder(config: Qformer.Config) -> Iterator[tuple[Place, str]]:
    """What is wrong with `model`, as far as can be said without the hub."""
    if config.model is None or not Path(config.model).expanduser().is_dir():
        return
    try:
        yield from _unlike(config, config.model, published_shape(config, config.model)[1])
    except InputError as error:
        yield ("model",), str(error).removeprefix(f"{label(config)}: ")


def _shape(config: Qformer.Config, dim_in: int) -> tuple[dict[str, Any], str]:
    """Arguments of a Shape, and the family of `model`, if there is one."""
    if config.model is None:
        sizes = {name: getattr(config, name) or usual for name, usual in BERT_BASE.items()}
        return sizes | {"dim_in": dim_in, "queries": config.queries, "words": 0}, ""
    family, found = published_shape(config, config.model)
    for place, why in _unlike(config, config.model, found):
        raise PartError(f"{label(config)}: {place[0]}: {why}")
    if found.dim_in not in (0, dim_in):
        raise PartError(
            f"{label(config)}: {config.model} looks at features {found.dim_in} wide, and the "
            f"encoder's are {dim_in}; take the encoder that it was trained with, or a BERT"
        )
    sizes = {key: value for key, value in vars(found).items() if key != "dropout"}
    words = found.words if config.text != "none" else 0
    return sizes | {"dim_in": dim_in, "queries": config.queries, "words": words}, family


def _tokenizer(config: Qformer.Config, family: str, texts: Texts | None) -> Any:
    if config.tokenizer is None and config.model is not None and family == INSTRUCTBLIP:
        return load_tokenizer(config, config.model, subfolder="qformer_tokenizer")
    return choose_tokenizer(config, config.tokenizer, config.model, texts)


@hookimpl
def register_connectors(register: Callable[[type], None]) -> None:
    register(Qformer)
