"""The loss over supervised tokens, against transformers' own."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from isthmus.core.contracts import Pack, Segments
from isthmus.plugins.objectives.lm import LanguageModelling

LENGTHS = (7, 4, 9)


class Model(nn.Module):
    """A tiny Llama as objectives see a model; counts the rows that its head is given."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=1,
            eos_token_id=2,
        )
        self.own = LlamaForCausalLM(config)
        self.rows: list[int] = []
        self.llm = SimpleNamespace(head=self.head)

    def head(self, hidden):
        self.rows.append(len(hidden))
        return self.own.lm_head(hidden)

    def hidden(self, pack: Pack, needed: Tensor | None = None):
        runs = torch.split(pack.ids, list(pack.segments.lengths))
        hidden = torch.cat([self.own.model(run[None]).last_hidden_state[0] for run in runs])
        return hidden if needed is None else hidden[needed]


@pytest.fixture
def pack() -> Pack:
    torch.manual_seed(1)
    ids = torch.randint(3, 50, (sum(LENGTHS),))
    targets = torch.full_like(ids, Pack.IGNORE)
    segments = Segments(LENGTHS)
    for start, end in zip(segments.offsets, segments.offsets[1:], strict=False):
        targets[start + 2 : end - 1] = ids[start + 3 : end]
    weight = float((targets != Pack.IGNORE).sum())
    empty = torch.tensor([], dtype=torch.long)
    nowhere = empty.reshape(0, 2)
    return Pack(ids, targets, segments, empty, None, nowhere, ("a", "b", "c"), weight)


def reference(model: Model, pack: Pack) -> torch.Tensor:
    """The sum of transformers' losses, sample by sample."""
    total = torch.zeros(())
    for start, end in zip(pack.segments.offsets, pack.segments.offsets[1:], strict=False):
        ids = pack.ids[start:end]
        labels = torch.cat([torch.tensor([Pack.IGNORE]), pack.targets[start : end - 1]])
        loss = model.own(ids[None], labels=labels[None]).loss
        total = total + loss * (labels != Pack.IGNORE).sum()
    return total


@pytest.mark.parametrize("rows", [4096, 3, 1])
def test_loss_and_gradient_are_those_of_transformers(rows, pack):
    model = Model()
    objective = LanguageModelling.Config(rows=rows).build()
    loss = objective(model, pack)
    assert loss.weight == pack.weight == 4 + 1 + 6
    torch.testing.assert_close(loss.sum, reference(model, pack), rtol=1e-6, atol=1e-6)
    loss.sum.backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    reference(model, pack).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-5, atol=1e-7)


def test_head_sees_supervised_rows_alone(pack):
    model = Model()
    LanguageModelling.Config().build()(model, pack)
    assert model.rows == [11]
    model.rows.clear()
    LanguageModelling.Config(rows=4).build()(model, pack)
    assert model.rows == [4, 4, 3]


def test_loss_is_in_fp32_where_the_model_is_not(pack):
    model = Model().to(torch.bfloat16)
    assert LanguageModelling.Config().build()(model, pack).sum.dtype == torch.float32


def test_pack_that_supervises_nothing_has_no_weight_but_a_graph(pack):
    model = Model()
    targets = torch.full_like(pack.targets, Pack.IGNORE)
    empty = replace(pack, targets=targets, weight=0.0)
    loss = LanguageModelling.Config().build()(model, empty)
    assert (loss.sum.item(), loss.weight) == (0.0, 0.0)
    loss.sum.backward()
    assert all((p.grad == 0).all() for p in model.parameters())
