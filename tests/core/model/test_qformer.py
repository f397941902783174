"""The ways that a Q-Former runs, beside transformers' BERT and its two Q-Formers."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertLMHeadModel,
    BertModel,
    Blip2QFormerConfig,
    Blip2QFormerModel,
    InstructBlipQFormerConfig,
    InstructBlipQFormerModel,
)
from transformers.cache_utils import DynamicCache

from isthmus.core.contracts import ConnectorText
from isthmus.core.model.qformer import Kept, QFormer, Shape
from isthmus.core.model.qformer_weights import _renamed
from isthmus.errors import PartError
from tests.oracles import alike

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "vocab_size": 60,
    "max_position_embeddings": 20,
}
SHAPE = Shape(
    dim_in=24, dim=32, layers=4, heads=4, hidden=56, every=2, queries=5, words=60, positions=20
)
TEXT = ConnectorText.of([[7, 8, 9, 10, 11, 12], [3, 4], [50, 51, 52, 53]])
"""Texts of six, two and four words."""
torch.manual_seed(0)
VALUES = torch.randn(3, 7, 24)
REAL = torch.arange(7) < torch.tensor([7, 2, 5])[:, None]
"""Of three images, seven, two and five features are real."""


@torch.no_grad()
def drawn(model: Any) -> Any:
    """With every weight drawn large, norms and biases too: none may be forgotten."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.normal_(std=0.3)
    return model.eval()


def filled(weights: dict[str, Tensor], shape: Shape) -> QFormer:
    made = QFormer(shape).eval()
    made.load_state_dict(weights)
    return made


@pytest.fixture(scope="module")
def instruct() -> tuple[QFormer, Any]:
    """Ours and InstructBLIP's, with the same weights, and the queries of ours."""
    theirs = drawn(
        InstructBlipQFormerModel(InstructBlipQFormerConfig(**SIZES, encoder_hidden_size=24))
    )
    queries = torch.randn(5, 32)
    weights = _renamed(theirs.state_dict()) | {"queries": queries}
    return filled(weights, SHAPE), theirs


@pytest.fixture(scope="module")
def bert() -> tuple[QFormer, Any]:
    """Ours without queries, and BERT, whose token types are zero."""
    theirs = drawn(BertLMHeadModel(BertConfig(**SIZES, is_decoder=True)))
    with torch.no_grad():
        theirs.bert.embeddings.token_type_embeddings.weight.zero_()
    names = theirs.bert.state_dict()
    renamed = _renamed({k.replace(".self.", ".attention."): v for k, v in names.items()})
    ours = QFormer(SHAPE).eval()
    drawn(ours).load_state_dict(renamed, strict=False)
    return ours, theirs


@pytest.mark.parametrize("real", [None, REAL], ids=["all real", "padded"])
def test_queries_alone_are_those_of_blip2(real: Tensor | None) -> None:
    theirs = drawn(Blip2QFormerModel(Blip2QFormerConfig(**SIZES, encoder_hidden_size=24)))
    queries = torch.randn(5, 32)
    shape = Shape(24, 32, layers=4, heads=4, hidden=56, every=2, queries=5)
    ours = filled(_renamed(theirs.state_dict()) | {"queries": queries}, shape)
    wanted = theirs(
        query_embeds=queries.expand(3, -1, -1),
        encoder_hidden_states=VALUES,
        encoder_attention_mask=None if real is None else real.long(),
    ).last_hidden_state
    assert alike(ours.look((VALUES, real)), wanted)


@pytest.mark.parametrize("real", [None, REAL], ids=["all real", "padded"])
def test_queries_with_text_are_those_of_instructblip(instruct, real: Tensor | None) -> None:
    ours, theirs = instruct
    seen, read = ours.look_and_read((VALUES, real), TEXT)
    wanted = theirs(
        input_ids=TEXT.ids,
        attention_mask=torch.cat([torch.ones(3, 5), TEXT.mask], dim=1).long(),
        query_embeds=ours.queries.expand(3, -1, -1),
        encoder_hidden_states=VALUES,
        encoder_attention_mask=None if real is None else real.long(),
    ).last_hidden_state
    assert alike(seen, wanted[:, :5])
    assert alike(read[TEXT.mask], wanted[:, 5:][TEXT.mask])


def test_who_sees_whom_is_a_mask_that_is_given(instruct) -> None:
    ours, theirs = instruct
    torch.manual_seed(2)
    sees = torch.rand(3, 11, 11) < 0.5
    sees |= torch.eye(11, dtype=torch.bool)
    seen, read = ours.look_and_read((VALUES, REAL), TEXT, sees)
    both = sees & torch.cat([torch.ones(3, 5, dtype=torch.bool), TEXT.mask], dim=1)[:, None]
    wanted = theirs(
        input_ids=TEXT.ids,
        attention_mask=both[:, None],
        query_embeds=ours.queries.expand(3, -1, -1),
        encoder_hidden_states=VALUES,
        encoder_attention_mask=REAL.long(),
    ).last_hidden_state
    assert alike(seen, wanted[:, :5])
    assert alike(read[TEXT.mask], wanted[:, 5:][TEXT.mask])


def test_text_alone_is_berts(bert) -> None:
    ours, theirs = bert
    encoder = BertModel(BertConfig(**SIZES), add_pooling_layer=False).eval()
    encoder.load_state_dict(theirs.bert.state_dict())
    wanted = encoder(input_ids=TEXT.ids, attention_mask=TEXT.mask.long()).last_hidden_state
    assert alike(ours.read(TEXT)[TEXT.mask], wanted[TEXT.mask])


def test_text_that_is_written_is_that_of_bert_as_a_decoder_behind_a_cache(bert) -> None:
    """transformers' BERT goes on from the keys and values of our queries."""
    ours, theirs = bert
    kept = Kept()
    ours.look((VALUES, REAL), kept)
    cache = DynamicCache(config=theirs.config)
    for number, (key, value) in enumerate(kept.blocks):
        cache.update(key, value, number)
    takes = inspect.signature(theirs.bert.forward).parameters
    name = "cache" if "cache" in takes else "past_key_values"  # before transformers 5.24
    wanted = theirs.bert(
        input_ids=TEXT.ids,
        attention_mask=torch.cat([torch.ones(3, 5), TEXT.mask], dim=1).long(),
        position_ids=torch.arange(6)[None],
        **{name: cache},
    ).last_hidden_state
    got = ours.write(TEXT, kept)
    assert alike(got[TEXT.mask], wanted[TEXT.mask])


def test_writing_word_by_word_is_writing_at_once(bert) -> None:
    ours, _ = bert
    whole = ConnectorText(TEXT.ids[:1], TEXT.mask[:1])
    picture = (VALUES[:1], None)
    at_once, by_word = Kept(), Kept()
    ours.look(picture, at_once)
    ours.look(picture, by_word)
    wanted = ours.write(whole, at_once)
    words = [
        ours.write(ConnectorText(whole.ids[:, i : i + 1], whole.mask[:, i : i + 1]), by_word)
        for i in range(6)
    ]
    assert alike(torch.cat(words, dim=1), wanted)
    assert by_word.tokens == 6
    assert torch.equal(by_word.real, at_once.real)


def test_writing_behind_kept_queries_is_one_run_under_blip2s_mask(instruct) -> None:
    """Queries see queries; a word sees the queries and the words before it."""
    ours, _ = instruct
    sees = torch.ones(11, 11, dtype=torch.bool).tril()
    sees[:5, :5] = True
    seen, read = ours.look_and_read((VALUES, REAL), TEXT, sees[None])
    kept = Kept()
    assert alike(ours.look((VALUES, REAL), kept), seen)
    assert alike(ours.write(TEXT, kept)[TEXT.mask], read[TEXT.mask])


def test_writing_without_queries_is_a_causal_language_model(bert) -> None:
    ours, theirs = bert
    wanted = theirs.bert(input_ids=TEXT.ids, attention_mask=TEXT.mask.long()).last_hidden_state
    assert alike(ours.write(TEXT, Kept())[TEXT.mask], wanted[TEXT.mask])


def test_no_text_at_all_is_queries_alone_with_the_texts_layers_in_the_graph(instruct) -> None:
    ours, _ = instruct
    nothing = ConnectorText(torch.zeros(3, 0, dtype=torch.long), torch.zeros(3, 0).bool())
    seen, _ = ours.look_and_read((VALUES, REAL), nothing)
    assert alike(seen, ours.look((VALUES, REAL)))
    ours.zero_grad()
    seen.sum().backward()
    assert all(parameter.grad is not None for parameter in ours.parameters())


def test_text_for_a_qformer_without_a_text_branch_is_an_error() -> None:
    shape = Shape(24, 32, layers=2, heads=4, hidden=56, every=2, queries=5)
    with pytest.raises(PartError, match="without a text branch"):
        QFormer(shape).read(TEXT)


def test_dropout_differs_between_images() -> None:
    """As in BERT, where every row of a batch draws for itself."""
    shape = Shape(24, 32, layers=1, heads=4, hidden=56, every=2, queries=5, dropout=0.5)
    seen = QFormer(shape).train().look((VALUES[:1].expand(2, -1, -1), None))
    assert not torch.allclose(seen[0], seen[1])
