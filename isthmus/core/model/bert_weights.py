"""A BERT's weights, out of a published BERT or BLIP."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isthmus.core.model.bert import Bert
from isthmus.core.model.bert_config import BLIP, BertConfig
from isthmus.core.model.pretrained import label, load_published, published_config, read_tensors
from isthmus.core.model.word_head import WordHead
from isthmus.errors import PartError

_ATTENTION = {
    "self.query": "q_proj",
    "self.key": "k_proj",
    "self.value": "v_proj",
    "output.dense": "out_proj",
}
_LAYERS = {
    **{f"attention.{theirs}": f"attention.{ours}" for theirs, ours in _ATTENTION.items()},
    "attention.output.LayerNorm": "attention_norm",
    **{f"crossattention.{theirs}": f"cross.{ours}" for theirs, ours in _ATTENTION.items()},
    "crossattention.output.LayerNorm": "cross_norm",
    "intermediate.dense": "layers.fc1",
    "output.dense": "layers.fc2",
    "output.LayerNorm": "layers_norm",
}
"""Layers of a block, by transformers' names -> ours."""
_HEAD = {"transform.dense": "layer", "transform.LayerNorm": "norm"}
_READERS, _WRITER = ("text_encoder.", "text_model."), "text_decoder."
"""What a BLIP calls the BERT that reads, and the one that writes."""


def fill(config: BertConfig, bert: Bert, head: WordHead | None = None) -> None:
    """The weights of `model` over those that were drawn; words that it has no row for begin as the
    mean.

    A BERT has no weights to look with, and a BLIP that was published for one task has one of the
    two self-attentions: what is not there is drawn, or, a self-attention, the other one's.
    """
    if config.model is None:
        return
    blip = published_config(config, config.model).get("model_type") == BLIP
    if blip:
        found, said = _of_blip(config, config.model)
    else:
        found, said = _of_bert(config, config.model, wants_head=head is not None)
    own = bert.state_dict()
    for key in list(found):
        if ".attention" in key and key.replace(".attention", ".writing") in own:
            found.setdefault(key.replace(".attention", ".writing"), found[key])
        if ".writing" in key:
            found.setdefault(key.replace(".writing", ".attention"), found[key])
    found["words.weight"] = _lengthened(found["words.weight"], len(own["words.weight"]))
    absent = own.keys() - found.keys()
    missing = sorted(key for key in absent if blip or ".cross" not in key)
    if missing:
        raise PartError(
            f"{label(config)}: {config.model} lacks {len(missing)} of this model's weights "
            f"({', '.join(missing[:3])}, ...); they would have been random"
        )
    _load(config, bert, own | {key: found[key] for key in own.keys() & found.keys()})
    if head is not None and said:
        said["bias"] = _lengthened(said["bias"], len(head.bias))
        _load(config, head, said)


def _load(config: BertConfig, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as error:
        why = " ".join(str(error).split("\n\t")[1:])
        raise PartError(f"{label(config)}: {config.model} does not fit: {why}") from error


def _lengthened(table: Tensor, rows: int) -> Tensor:
    more = rows - len(table)
    return torch.cat([table, table.mean(dim=0, keepdim=True).expand(more, *table.shape[1:])])


def _of_bert(
    config: BertConfig, name: str, wants_head: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Its weights, and those of its head over words where it was published with one."""
    from transformers import BertForMaskedLM, BertModel

    kinds = published_config(config, name).get("architectures") or ()
    if wants_head and "BertForMaskedLM" in kinds:
        weights = load_published(config, BertForMaskedLM, name).state_dict()
        head = _head(weights, "cls.predictions.")
        weights = _inside(weights, "bert.")
    else:
        weights = load_published(config, BertModel, name, add_pooling_layer=False).state_dict()
        head = {}
    found = _renamed(weights)
    first = weights["embeddings.token_type_embeddings.weight"][0]
    found["positions.weight"] = found["positions.weight"] + first
    return found, head


def _of_blip(config: BertConfig, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both of its BERTs, as far as they are there: they share all but self-attention. Raises
    PartError where they do not."""
    tensors = read_tensors(config, name, (*_READERS, _WRITER))
    found: dict[str, Tensor] = {}
    for prefix in _READERS:
        found |= _renamed(_inside(tensors, prefix))
    written = _renamed(_inside(tensors, f"{_WRITER}bert."))
    writer = {key.replace(".attention", ".writing"): value for key, value in written.items()}
    both = found.keys() & writer.keys()
    if apart := sorted(key for key in both if not torch.equal(found[key], writer[key])):
        raise PartError(
            f"{label(config)}: {name} reads by one BERT and writes by another ({apart[0]} is not "
            "the same in both), as a BLIP for questions does; take one for captions or retrieval, "
            "like `Salesforce/blip-image-captioning-base`"
        )
    found |= writer
    return found, _head(tensors, f"{_WRITER}cls.predictions.")


def _inside(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A BERT's weights under our names."""
    around = {
        "embeddings.word_embeddings.weight": "words.weight",
        "embeddings.position_embeddings.weight": "positions.weight",
        "embeddings.LayerNorm.weight": "norm.weight",
        "embeddings.LayerNorm.bias": "norm.bias",
    }
    found = {around[key]: value for key, value in weights.items() if key in around}
    for key, value in _inside(weights, "encoder.layer.").items():
        number, _, inside = key.partition(".")
        layer, _, kind = inside.rpartition(".")
        if layer in _LAYERS:
            found[f"blocks.{number}.{_LAYERS[layer]}.{kind}"] = value
    return found


def _head(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    inside = _inside(weights, prefix)
    if "bias" not in inside:
        inside["bias"] = inside.get("decoder.bias", torch.zeros(0))
    found = {
        f"{ours}.{kind}": inside[f"{theirs}.{kind}"]
        for theirs, ours in _HEAD.items()
        for kind in ("weight", "bias")
        if f"{theirs}.{kind}" in inside
    }
    return found | {"bias": inside["bias"]} if found else {}
