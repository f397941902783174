"""A model's vocabulary: ids that it shares with its tokenizer, a row for every token, logits."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from isthmus.core.model.pretrained import TransformersConfig, knows, quiet, scratch_config

IDS = ("pad_token_id", "bos_token_id", "eos_token_id")
"""Keys of a configuration that follow from the tokenizer."""


def without_ids(family: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """An inline config of this family before its tokenizer is known. A family's own ids may lie
    beyond the rows that `values` give it."""
    return {key: None for key in IDS if knows(family, key)} | dict(values)


def own_shape(config: TransformersConfig, tokenizer: Any, **more: Any) -> Any:
    """transformers' configuration of an inline config, speaking this tokenizer's ids; `more` are
    values where it does not say."""
    from transformers import CONFIG_MAPPING

    values = copy.deepcopy(config.config or {})  # families make objects of what is nested
    family = CONFIG_MAPPING[values.pop("model_type")]
    ids = {key: getattr(tokenizer, key) for key in IDS}
    for key, value in ({"vocab_size": len(tokenizer)} | ids | more).items():
        if knows(family, key):
            values.setdefault(key, value)
    return scratch_config(config, family, values)


@torch.no_grad()
def row_for_every_token(model: Any, tokenizer: Any) -> None:
    """New tokens begin as the mean of those there were."""
    rows, wanted = model.get_input_embeddings().weight.shape[0], len(tokenizer)
    if rows >= wanted:
        return
    with quiet():
        model.resize_token_embeddings(wanted, mean_resizing=False)
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        table.weight[rows:] = table.weight[:rows].mean(dim=0)


def to_logits(logits: Tensor, shape: Any) -> Tensor:
    """What a decoder of this configuration does to what its head gives."""
    if scale := getattr(shape, "logits_scaling", None):  # Granite
        logits = logits / scale
    if scale := getattr(shape, "logit_scale", None):  # Cohere
        logits = logits * scale
    if cap := getattr(shape, "final_logit_softcapping", None):  # Gemma
        logits = cap * torch.tanh(logits / cap)
    return logits


def text_ends(tokenizer: Any) -> tuple[int, ...]:
    """Ids that the tokenizer itself puts behind every text (`</s>`), or none."""
    if tokenizer is None:
        return ()
    encoding = tokenizer.backend_tokenizer.encode("x", add_special_tokens=True)
    marked = list(zip(encoding.ids, encoding.special_tokens_mask, strict=True))
    behind = [id for id, _ in takewhile(lambda pair: pair[1], reversed(marked))]
    return tuple(reversed(behind))
