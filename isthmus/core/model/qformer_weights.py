"""A Q-Former's sizes and weights out of published models: BERT, BLIP-2, InstructBLIP.

Of a BLIP-2 its Q-Former alone is read, and of the hub's files those that hold it: the language
model beside it is some other part's business.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isthmus.core.contracts import PartConfig
from isthmus.core.model.pretrained import label, load_published, published_config, read_tensors
from isthmus.core.model.qformer import QFormer, Shape
from isthmus.errors import PartError

BERT, BLIP2, INSTRUCTBLIP = "bert", "blip-2", "instructblip"

_AROUND = {
    "query_tokens": "queries",
    "embeddings.word_embeddings.weight": "words.weight",
    "embeddings.position_embeddings.weight": "positions.weight",
    **{
        f"{place}.{name}": f"norm.{name}"
        for place in ("embeddings.LayerNorm", "embeddings.layernorm", "layernorm")
        for name in ("weight", "bias")
    },
}
"""What stands around the blocks, by transformers' names -> ours."""
_BLOCK = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.out_proj",
    "attention.output.LayerNorm": "attention_norm",
    "crossattention.attention.query": "cross.q_proj",
    "crossattention.attention.key": "cross.k_proj",
    "crossattention.attention.value": "cross.v_proj",
    "crossattention.output.dense": "cross.out_proj",
    "crossattention.output.LayerNorm": "cross_norm",
    "intermediate.dense": "text.fc1",
    "output.dense": "text.fc2",
    "output.LayerNorm": "text_norm",
    "intermediate_query.dense": "query.fc1",
    "output_query.dense": "query.fc2",
    "output_query.LayerNorm": "query_norm",
}
"""Layers of a block, likewise."""
_PREFIXES = ("query_tokens", "qformer.", "embeddings.", "language_projection.")


def published_shape(part: PartConfig, name: str) -> tuple[str, Shape]:
    """The family of a hub id or folder, and its sizes: without a text branch no `words`, and
    for BERT, which knows neither, no `queries` and no `dim_in`."""
    from transformers import BertConfig, Blip2Config, InstructBlipConfig

    said = published_config(part, name)
    family = said.get("model_type")
    configs = {BERT: BertConfig, BLIP2: Blip2Config, INSTRUCTBLIP: InstructBlipConfig}
    if family not in configs:
        raise PartError(
            f"{label(part)}: {name} is a {family!r} model; a Q-Former begins from "
            f"{', '.join(configs)}"
        )
    whole = configs[family].from_dict(said)
    inner = whole if family == BERT else whole.qformer_config
    if inner.hidden_act != "gelu":
        raise PartError(f"{label(part)}: {name} has {inner.hidden_act!r} layers; this one has gelu")
    reads = family != BLIP2 or inner.use_qformer_text_input
    shape = Shape(
        dim_in=0 if family == BERT else inner.encoder_hidden_size,
        dim=inner.hidden_size,
        layers=inner.num_hidden_layers,
        heads=inner.num_attention_heads,
        hidden=inner.intermediate_size,
        every=2 if family == BERT else inner.cross_attention_frequency,
        queries=0 if family == BERT else whole.num_query_tokens,
        words=inner.vocab_size if reads else 0,
        positions=inner.max_position_embeddings,
    )
    return family, shape


def fill(part: PartConfig, name: str, qformer: QFormer, projection: nn.Linear | None) -> None:
    """Load the published weights over those that were drawn. BERT has none for the queries, for
    looking at pictures and for the projection, and BLIP-2's projection fits one width of LLM:
    what is not there, or does not fit, stays as it was drawn.

    Raises PartError when something else is missing.
    """
    family, _ = published_shape(part, name)
    found = _of_bert(part, name) if family == BERT else _of_blip2(part, name)
    last = {key: found.pop(f"projection.{key}", None) for key in ("weight", "bias")}
    own = qformer.state_dict()
    missing = sorted(key for key in own.keys() - found.keys() if not _drawn(key, family))
    if missing:
        raise PartError(
            f"{label(part)}: {name} lacks {len(missing)} of this Q-Former's weights "
            f"({', '.join(missing[:3])}, ...); they would have been random"
        )
    with torch.no_grad():
        for key in own.keys() & found.keys():
            _copy(own[key], found[key], f"{label(part)}: {name}: {key}")
    _project(last, projection)


def fill_projection(part: PartConfig, name: str, projection: nn.Linear) -> None:
    """`fill` of the projection alone, for an LLM that comes after the Q-Former."""
    if published_shape(part, name)[0] != BERT:
        tensors = read_tensors(part, name, ("language_projection.",))
        last = {key: tensors.get(f"language_projection.{key}") for key in ("weight", "bias")}
        _project(last, projection)


def _project(found: dict[str, Tensor | None], projection: nn.Linear | None) -> None:
    weight = found["weight"]
    if weight is not None and projection is not None and weight.shape == projection.weight.shape:
        projection.load_state_dict(found)


def _copy(own: Tensor, found: Tensor, what: str) -> None:
    """Into all of it, or into the first rows of a table that has more: the others begin as the
    mean of those there were."""
    if own.shape[1:] != found.shape[1:] or len(own) < len(found):
        raise PartError(f"{what} is {tuple(found.shape)} there, and here {tuple(own.shape)}")
    own[: len(found)] = found
    if len(own) > len(found):
        own[len(found) :] = found.mean(dim=0)


def _drawn(key: str, family: str) -> bool:
    return family == BERT and (key == "queries" or ".cross" in key)


def _of_bert(part: PartConfig, name: str) -> dict[str, Tensor]:
    """Feed-forward layers serve queries and text. There is no second segment here: what BERT adds
    to every token of the first is added to its positions."""
    from transformers import BertModel

    model = load_published(part, BertModel, name, add_pooling_layer=False)
    weights = model.state_dict()
    found = _renamed({k.replace(".self.", ".attention."): v for k, v in weights.items()})
    first = weights["embeddings.token_type_embeddings.weight"][0]
    found["positions.weight"] = found["positions.weight"] + first
    for key in [key for key in found if ".text" in key]:
        found[key.replace(".text", ".query")] = found[key]
    return found


def _of_blip2(part: PartConfig, name: str) -> dict[str, Tensor]:
    tensors = read_tensors(part, name, _PREFIXES)
    found = _renamed({key.removeprefix("qformer."): value for key, value in tensors.items()})
    for key in ("weight", "bias"):
        if f"language_projection.{key}" in tensors:
            found[f"projection.{key}"] = tensors[f"language_projection.{key}"]
    if "queries" in found:
        found["queries"] = found["queries"].squeeze(0)
    return found


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those that a Q-Former has, under its own names."""
    found: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if key in _AROUND:
            found[_AROUND[key]] = value
        elif key.startswith("encoder.layer."):
            number, _, inside = key.removeprefix("encoder.layer.").partition(".")
            layer, _, kind = inside.rpartition(".")
            if layer in _BLOCK:
                found[f"blocks.{number}.{_BLOCK[layer]}.{kind}"] = value
    return found
