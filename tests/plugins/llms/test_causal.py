"""Decoder families beside transformers' own forward and generate, on the same weights."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from isthmus.core.contracts import Segments
from isthmus.core.model.draw import drawn_from
from isthmus.core.model.generate import Prompt, Stops, generate
from isthmus.core.model.settings import Settings
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import InputError, PartError
from isthmus.plugins.llms.causal import Causal
from isthmus.testing import check_llm
from tests.oracles import relative
from tests.plugins.llms.families import PADDED, RAGGED
from tests.plugins.llms.originals import TOKENIZER, ids, original

FAMILIES = RAGGED | PADDED
SEGMENTS = Segments((7, 11, 1, 19, 5))


def build(family: str = "llama", seed: int = 0, **fields: Any) -> Causal:
    config = Causal.Config(config={"model_type": family, **FAMILIES[family]}, **fields)
    return drawn_from(config, "llm", seed, {"tokenizer_object": TOKENIZER}).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pack_has_the_logits_and_gradients_of_its_samples_run_alone(family: str) -> None:
    llm = build(family)
    assert llm.ragged or family in PADDED
    theirs = original(llm)
    embeds = llm.embed(ids(SEGMENTS.offsets[-1])).detach()
    ours = embeds.clone().requires_grad_()
    logits = llm.head(llm(ours, SEGMENTS))
    direction = torch.randn_like(logits)
    (logits * direction).sum().backward()

    alone = embeds.clone().requires_grad_()
    samples = torch.split(alone, list(SEGMENTS.lengths))
    wanted = torch.cat([theirs(inputs_embeds=sample[None]).logits[0] for sample in samples])
    (wanted * direction).sum().backward()
    assert relative(logits, wanted) < 1e-5
    assert relative(ours.grad, alone.grad) < 1e-5
    for (name, got), want in zip(llm.model.named_parameters(), theirs.parameters(), strict=True):
        if want.grad is not None and want.grad.norm() > 1e-4:
            assert relative(got.grad, want.grad) < 1e-5, name


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_are_those_of_transformers_own_generate(family: str) -> None:
    llm = build(family)
    texts = [ids(9), ids(4)]
    prompts = [Prompt(text, torch.empty(0, dtype=torch.long)) for text in texts]
    settings = Settings(max_new_tokens=12)
    answers = generate(VisionLanguageModel(llm=llm), prompts, settings, Stops())
    theirs = original(llm)
    for text, answer in zip(texts, answers, strict=True):
        wanted = theirs.generate(
            input_ids=text[None],
            attention_mask=torch.ones(1, len(text), dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert answer.ids == tuple(wanted[0, len(text) :].tolist())


def test_segments_survive_gradient_checkpointing() -> None:
    llm = build()
    embeds = llm.embed(ids(SEGMENTS.offsets[-1])).detach()

    def gradient() -> Tensor:
        leaf = embeds.clone().requires_grad_()
        llm(leaf, SEGMENTS).square().sum().backward()
        return leaf.grad

    plain = gradient()
    llm.train()
    for layer in llm.decoder_layers:
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    assert relative(gradient(), plain) < 1e-6


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "gpt_neox"])
def test_layer_inputs_reach_every_decoder_layer(family: str) -> None:
    llm, seen = build(family), []

    def look(layer, args, kwargs):
        seen.append(kwargs.pop("media"))
        return args, kwargs

    for layer in llm.decoder_layers:
        layer.register_forward_pre_hook(look, with_kwargs=True)
    media = [torch.ones(2)]
    embeds = llm.embed(ids(6))
    llm(embeds, Segments((6,)), {"media": media})
    llm.decode(embeds[None], torch.ones(1, 6, dtype=torch.bool), None, {"media": media})
    assert len(llm.decoder_layers) == 3
    assert len(seen) == 6
    assert all(each is media for each in seen)
    # A tensor goes with the tokens: a layer finds it laid out like its hidden states.
    llm(embeds, Segments((4, 2)), {"media": torch.arange(6)})
    assert [each.tolist() for each in seen[6:]] == 3 * [[[0, 1, 2, 3, 4, 5]]]


@pytest.mark.parametrize("family", ["stablelm", "bloom"])
def test_a_family_that_drops_layer_inputs_refuses_them(family: str) -> None:
    llm = build(family)
    with pytest.raises(PartError, match="hands its layers no further inputs"):
        llm(llm.embed(ids(4)), Segments((4,)), {"media": torch.ones(2)})


def test_a_family_whose_cache_is_of_another_kind_can_be_trained_but_not_asked() -> None:
    shape = {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
    llm = Causal.Config(config=shape).build(tokenizer_object=TOKENIZER).eval()
    assert not llm.ragged
    embeds = llm.embed(ids(10))
    theirs = original(llm)
    wanted = torch.cat([theirs(inputs_embeds=e[None]).logits[0] for e in embeds.split([6, 4])])
    assert relative(llm.head(llm(embeds, Segments((6, 4)))), wanted) < 1e-5
    with pytest.raises(PartError, match="can be trained here, but not asked"):
        llm.decode(embeds[None], torch.ones(1, 10, dtype=torch.bool))


@pytest.mark.parametrize("family", ["opt", "gpt2"])
def test_a_text_longer_than_the_table_of_positions_is_refused(family: str) -> None:
    llm = build(family)
    most = 128
    llm(llm.embed(ids(2 * most)), Segments((most, most)))
    with pytest.raises(InputError, match=r"129 tokens.*positions for 128. Write `max_length: 128`"):
        llm(llm.embed(ids(most + 1)), Segments((most + 1,)))
    with pytest.raises(InputError, match="129 tokens"):
        llm.decode(llm.embed(ids(129))[None], torch.ones(1, 129, dtype=torch.bool))


@pytest.mark.parametrize("family", FAMILIES)
def test_how_long_a_text_may_be_is_known_before_the_model_is_built(family: str) -> None:
    llm = build(family)
    assert llm.config.most_tokens == llm._most_tokens


def test_how_long_a_text_may_be_is_read_in_a_folder_and_not_asked_of_the_hub(
    tmp_path: Path,
) -> None:
    for said, most in (
        ({"model_type": "gpt2", "n_positions": 77}, 77),
        ({"model_type": "?"}, None),
    ):
        (tmp_path / "config.json").write_text(json.dumps(said))
        assert Causal.Config(model=str(tmp_path)).most_tokens == most
    assert Causal.Config(model="some/where").most_tokens is None


def test_rotary_positions_have_no_end() -> None:
    llm = build("llama")
    assert llm(llm.embed(ids(200)), Segments((200,))).isfinite().all()


def test_weights_from_scratch_are_scaled_unless_stock_is_asked_for() -> None:
    up, stock = (build(init=init).model.model.layers[0].mlp.up_proj for init in ("scaled", "stock"))
    assert up.weight.std().item() == pytest.approx(32**-0.5, rel=0.1)
    assert stock.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_the_vocabulary_and_its_control_tokens_are_the_tokenizers() -> None:
    config = build().model.config
    assert config.vocab_size == len(TOKENIZER)
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, 2)


@pytest.mark.parametrize("family", ["llama", "opt", "gemma2", "stablelm"])
def test_it_conforms(family: str) -> None:
    config = Causal.Config(config={"model_type": family, **FAMILIES[family]})
    check_llm(config, tokenizer_object=TOKENIZER)


def test_one_long_text_does_not_turn_the_positions_of_the_others_in_its_pack() -> None:
    factors = {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4, "factor": 8.0}
    rope = {"rope_type": "longrope", "original_max_position_embeddings": 16, **factors}
    shape = FAMILIES["phi3"] | {"rope_parameters": rope | {"rope_theta": 10_000.0}}
    config = Causal.Config(config={"model_type": "phi3", **shape})
    llm = drawn_from(config, "llm", 0, {"tokenizer_object": TOKENIZER}).eval()
    assert llm.ragged
    texts = torch.split(ids(SEGMENTS.offsets[-1]), list(SEGMENTS.lengths))  # one is over 16
    found = llm(llm.embed(torch.cat(texts)), SEGMENTS)
    theirs = original(llm)
    wanted = [theirs.model(input_ids=text[None]).last_hidden_state[0] for text in texts]
    assert relative(found, torch.cat(wanted)) < 1e-5


def test_a_text_beyond_what_dynamic_rope_leaves_as_it_is_is_refused() -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    shape = FAMILIES["llama"] | {"rope_parameters": rope, "max_position_embeddings": 16}
    config = Causal.Config(config={"model_type": "llama", **shape})
    llm = drawn_from(config, "llm", 0, {"tokenizer_object": TOKENIZER}).eval()
    assert llm(llm.embed(ids(16)), Segments((16,))).shape == (16, llm.dim)
    with pytest.raises(InputError, match="max_length: 16"):
        llm(llm.embed(ids(17)), Segments((17,)))
