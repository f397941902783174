"""A decoder tries itself out before anything is relied upon; families are in
`tests/plugins/llms`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from isthmus.core.contracts import CausalLLM, Segments
from isthmus.core.model.decoder import Decoder
from isthmus.core.model.ragged import BACKEND
from isthmus.core.model.trial import alike
from isthmus.errors import PartError

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


class Plain(Decoder, name="plain"):
    """The least that can be built."""

    class Config(CausalLLM.Config):
        """Configuration of `plain`."""


def llama(**changes: Any) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE, **changes)
    return LlamaForCausalLM._from_config(config, attn_implementation="eager")


def test_what_agrees_is_used() -> None:
    decoder = Plain(Plain.Config(), None, llama())
    assert decoder.ragged
    assert decoder.hands_down
    assert decoder.decodes
    assert decoder.model.config._attn_implementation == BACKEND


def test_trying_out_leaves_no_trace() -> None:
    model = llama().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    decoder = Plain(Plain.Config(), None, model)
    assert decoder.training
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_family_that_drops_segments_runs_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What StableLM does: its layers hand nothing on."""
    model = llama()
    for layer in model.model.layers:
        forward = layer.forward
        monkeypatch.setattr(
            layer, "forward", lambda *a, forward=forward, segments=None, **k: forward(*a, **k)
        )
    decoder = Plain(Plain.Config(), None, model)
    assert not decoder.ragged
    assert not decoder.hands_down
    assert decoder.decodes
    assert model.config._attn_implementation == "sdpa"
    embeds = decoder.embed(torch.arange(9))
    hidden = decoder(embeds, Segments((5, 4)))
    alone = [decoder(part, Segments((len(part),))) for part in torch.split(embeds, [5, 4])]
    assert torch.allclose(hidden, torch.cat(alone), atol=1e-5)


def test_a_model_that_runs_right_in_no_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token sees the mean of the whole call, in a pack and in a batch."""
    model = llama()
    norm = model.model.norm.forward
    monkeypatch.setattr(model.model.norm, "forward", lambda x: norm(x) + x.mean())
    with pytest.raises(PartError, match="LlamaForCausalLM gives other results in a batch"):
        Plain(Plain.Config(), None, model)


def test_a_head_that_does_more_than_is_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    forward = model.forward

    def doubled(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits * 2
        return output

    monkeypatch.setattr(model, "forward", doubled)
    with pytest.raises(PartError, match="head that does more than is known"):
        Plain(Plain.Config(), None, model)


def test_an_encoder_decoder_is_refused() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    model = T5ForConditionalGeneration(T5Config(vocab_size=60, **shape))
    with pytest.raises(PartError, match="no plain decoder"):
        Plain(Plain.Config(), None, model)


def test_weights_that_are_not_there_yet_are_not_tried() -> None:
    with torch.device("meta"):
        model = llama()
    assert Plain(Plain.Config(), None, model).ragged


def test_alike_forgives_rounding_and_nothing_else() -> None:
    wanted = torch.randn(5, 4)
    assert alike(lambda: wanted * (1 + 1e-6), wanted)
    assert not alike(lambda: wanted * (1 + 1e-3), wanted)
    assert not alike(lambda: wanted[:4], wanted)
    assert not alike(lambda: wanted * torch.nan, wanted)
    assert not alike(lambda: {}["no such way"], wanted)
