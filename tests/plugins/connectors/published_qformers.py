"""Folders of the models that a Q-Former comes out of, as transformers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertModel,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
)

from isthmus.plugins.connectors.qformer import Qformer
from isthmus.testing import tiny_tokenizer
from tests.oracles import VISION, shifted

TEXT = {
    "model_type": "opt",
    "hidden_size": 32,
    "ffn_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 300,
    "max_position_embeddings": 128,
    "word_embed_proj_dim": 32,
    "dropout": 0.0,
}
BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "vocab_size": 300,
    "max_position_embeddings": 20,
}
WHOLE = {
    "vision_config": VISION,
    "text_config": TEXT,
    "qformer_config": BERT,
    "num_query_tokens": 5,
    "image_token_index": 290,
}
FAMILIES = {
    "blip2": (Blip2ForConditionalGeneration, Blip2Config(**WHOLE)),
    "retrieval": (
        Blip2ForImageTextRetrieval,
        Blip2Config(**WHOLE | {"qformer_config": BERT | {"use_qformer_text_input": True}}),
    ),
    "instructblip": (InstructBlipForConditionalGeneration, InstructBlipConfig(**WHOLE)),
    "bert": (BertModel, BertConfig(**BERT)),
}


def save_published(family: str, folder: Path) -> Any:
    """A model of this family, saved as it is published, in several files."""
    cls, config = FAMILIES[family]
    torch.manual_seed(0)
    model = shifted(cls(config), 0.2).eval()
    model.save_pretrained(folder, max_shard_size="100KB")
    words = folder / "qformer_tokenizer" if family == "instructblip" else folder
    tiny_tokenizer().save_pretrained(words)
    return model


def built(folder: Path, dim_in: int = 24, **fields: Any) -> Qformer:
    """Our Q-Former out of such a folder, for an LLM 32 wide."""
    config = Qformer.Config(model=str(folder), **{"queries": 5, **fields})
    made: Qformer = config.build(dim_in=dim_in, dim_out=32)
    return made.eval()
