"""Text encoders beside transformers' own models, out of folders that transformers has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertLMHeadModel,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    SiglipTextConfig,
    SiglipTextModel,
)

from isthmus.core.config import validate_part
from isthmus.errors import PartError
from isthmus.testing import check_text_encoder, tiny_tokenizer
from tests.oracles import TOWER, near, shifted

BERT = TOWER | {"vocab_size": 300, "max_position_embeddings": 9}
TEXT = BERT | {"bos_token_id": 1, "eos_token_id": 299, "pad_token_id": 0}
IDS = torch.tensor([[1, 7, 8, 9, 299], [1, 9, 299, 0, 0], [1, 4, 5, 299, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).bool()


def published(folder: Path, model: Any) -> Any:
    torch.manual_seed(0)
    shifted(model, 0.1).save_pretrained(folder)
    return model.eval()


def ours(kind: str, folder: Path) -> Any:
    config: Any = validate_part("text_encoder", {"type": kind, "model": str(folder)})
    return config.build(tokenizer_object=tiny_tokenizer()).eval()


@torch.no_grad()
def test_clip_reads_as_transformers_does(tmp_path: Path):
    theirs = published(tmp_path, CLIPTextModel(CLIPTextConfig(**TEXT)))
    text_encoder = ours("clip", tmp_path)
    read = theirs(IDS, attention_mask=MASK.long())
    assert near(text_encoder(IDS, MASK)[MASK], read.last_hidden_state[MASK])
    assert near(text_encoder.pooled(IDS, MASK), read.pooler_output)
    assert text_encoder.tokenizer.model_max_length == 9


@torch.no_grad()
def test_siglip_reads_padding_as_it_was_trained(tmp_path: Path):
    shape = TEXT | {"projection_size": 10}
    theirs = published(tmp_path, SiglipTextModel(SiglipTextConfig(**shape)))
    text_encoder = ours("siglip", tmp_path)
    filled = torch.zeros(3, 9, dtype=torch.long)
    filled[:, :5] = IDS
    read = theirs(filled)
    assert near(text_encoder(IDS, MASK), read.last_hidden_state[:, :5])
    assert near(text_encoder.pooled(IDS, MASK), read.pooler_output)
    assert (text_encoder.dim, text_encoder.pooled_dim) == (24, 10)


@torch.no_grad()
def test_bert_reads_in_both_directions_as_transformers_does(tmp_path: Path):
    theirs = published(tmp_path, BertModel(BertConfig(**BERT), add_pooling_layer=False))
    text_encoder = ours("bert", tmp_path)
    read = theirs(IDS, attention_mask=MASK.long()).last_hidden_state
    assert near(text_encoder(IDS, MASK)[MASK], read[MASK])
    assert near(text_encoder.pooled(IDS, MASK), read[:, 0])


@torch.no_grad()
def test_bert_looks_and_writes_as_transformers_decoder_does(tmp_path: Path):
    shape = BertConfig(**BERT, is_decoder=True, add_cross_attention=True)
    theirs = published(tmp_path, BertLMHeadModel(shape))
    config: Any = validate_part(
        "text_encoder", {"type": "bert", "model": str(tmp_path), "cross": True}
    )
    text_encoder = config.build(tokenizer_object=tiny_tokenizer(), visual_dim=24).eval()
    for block, layer in zip(text_encoder.bert.blocks, theirs.bert.encoder.layer, strict=True):
        cross = layer.crossattention
        for name, module in (
            ("q_proj", cross.self.query),
            ("k_proj", cross.self.key),
            ("v_proj", cross.self.value),
            ("out_proj", cross.output.dense),
        ):
            getattr(block.cross, name).load_state_dict(module.state_dict())
        block.cross_norm.load_state_dict(cross.output.LayerNorm.state_dict())
    visual = torch.randn(3, 4, 24)
    seen = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    read = theirs.bert(
        IDS,
        attention_mask=MASK.long(),
        encoder_hidden_states=visual,
        encoder_attention_mask=seen.long(),
    ).last_hidden_state
    found = text_encoder(IDS, MASK, visual, seen, causal=True)
    assert near(found[MASK], read[MASK])


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_towers_read_text_alone(kind: str):
    config: Any = validate_part(
        "text_encoder", {"type": kind, "config": BERT, "tokenizer": {"vocab_size": 300}}
    )
    with pytest.raises(PartError, match="it reads text alone"):
        config.build(tokenizer_object=tiny_tokenizer())(IDS, MASK, torch.zeros(3, 4, 24))


def test_bert_that_looks_needs_something_to_look_at():
    config: Any = validate_part(
        "text_encoder", {"type": "bert", "cross": True, "tokenizer": {"vocab_size": 300}}
    )
    with pytest.raises(PartError, match="cross: there is no encoder"):
        config.build(tokenizer_object=tiny_tokenizer())


def test_published_towers_conform(tmp_path: Path):
    published(tmp_path, CLIPTextModel(CLIPTextConfig(**TEXT)))
    config: Any = validate_part("text_encoder", {"type": "clip", "model": str(tmp_path)})
    check_text_encoder(config, tokenizer_object=tiny_tokenizer())


def test_a_tower_of_another_family_is_refused(tmp_path: Path):
    published(tmp_path, BertModel(BertConfig(**BERT), add_pooling_layer=False))
    with pytest.raises(PartError, match="is a 'bert' model; this text encoder loads clip or"):
        ours("clip", tmp_path)
