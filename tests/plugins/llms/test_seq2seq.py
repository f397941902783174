"""Encoder-decoder families beside transformers' own forward and generate, on the same weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

from isthmus.core.contracts import Segments
from isthmus.core.model.draw import drawn_from
from isthmus.core.model.generate import Prompt, Settings, Stops, generate
from isthmus.core.model.layers import Layers
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import InputError, PartError
from isthmus.plugins.llms.seq2seq import Seq2Seq
from isthmus.testing import check_llm
from tests.oracles import relative
from tests.plugins.llms.families import PADDED_PAIRS, PAIRS, T5
from tests.plugins.llms.originals import TOKENIZER, ids, original

FAMILIES = PAIRS | PADDED_PAIRS
SOURCES, TARGETS = Segments((7, 21, 1, 19)), Segments((4, 2, 9, 5))


def build(family: str = "t5", seed: int = 0, **fields: Any) -> Seq2Seq:
    config = Seq2Seq.Config(config={"model_type": family, **FAMILIES[family]}, **fields)
    return drawn_from(config, "llm", seed, {"tokenizer_object": TOKENIZER}).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_have_the_logits_and_gradients_of_each_pair_run_alone(family: str) -> None:
    llm = build(family)
    assert llm.ragged == (family in PAIRS)
    theirs = original(llm, AutoModelForSeq2SeqLM)
    read = torch.randn(SOURCES.offsets[-1], llm.dim)
    said = llm.embed_answer(ids(TARGETS.offsets[-1])).detach()
    ours = [each.clone().requires_grad_() for each in (read, said)]
    logits = llm.head(llm(llm.encode(ours[0], SOURCES), SOURCES, ours[1], TARGETS))
    direction = torch.randn_like(logits)
    (logits * direction).sum().backward()

    alone = [each.clone().requires_grad_() for each in (read, said)]
    pairs = zip(alone[0].split(SOURCES.lengths), alone[1].split(TARGETS.lengths), strict=True)
    wanted = torch.cat(
        [theirs(inputs_embeds=s[None], decoder_inputs_embeds=t[None]).logits[0] for s, t in pairs]
    )
    (wanted * direction).sum().backward()
    assert relative(logits, wanted) < 1e-5
    for got, want in zip(ours, alone, strict=True):
        assert relative(got.grad, want.grad) < 1e-5
    for (name, got), want in zip(llm.model.named_parameters(), theirs.parameters(), strict=True):
        if want.grad is not None and want.grad.norm() > 1e-4:
            assert relative(got.grad, want.grad) < 1e-5, name


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_are_those_of_transformers_own_generate(family: str) -> None:
    llm = build(family)
    theirs = original(llm, AutoModelForSeq2SeqLM)
    texts = [ids(9), ids(4), ids(1)]
    nowhere = torch.empty(0, dtype=torch.long)
    prompts = [Prompt(text, nowhere) for text in texts]
    settings = Settings(max_new_tokens=12)
    answers = generate(VisionLanguageModel(llm=llm), prompts, settings, Stops())
    for text, answer in zip(texts, answers, strict=True):
        wanted = theirs.generate(
            input_ids=text[None],
            attention_mask=torch.ones(1, len(text), dtype=torch.long),
            decoder_start_token_id=llm.starts[0],
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            forced_eos_token_id=None,
        )
        assert answer.ids == tuple(wanted[0, 1:].tolist())


def test_a_forced_first_word_comes_before_every_answer_and_is_not_part_of_it() -> None:
    shape = {"model_type": "bart", **PADDED_PAIRS["bart"]}
    llm = Seq2Seq.Config(config=shape, starts=(2, 1)).build(tokenizer_object=TOKENIZER).eval()
    assert llm.starts == (2, 1)
    text = ids(6)
    settings = Settings(max_new_tokens=8)
    prompts = [Prompt(text, torch.empty(0, dtype=torch.long))]
    (answer,) = generate(VisionLanguageModel(llm=llm), prompts, settings, Stops())
    wanted = original(llm, AutoModelForSeq2SeqLM).generate(
        input_ids=text[None], max_new_tokens=9, do_sample=False, num_beams=1, eos_token_id=None,
        pad_token_id=0, decoder_start_token_id=2, forced_bos_token_id=1, forced_eos_token_id=None,
    )  # fmt: skip
    assert wanted[0, :2].tolist() == [2, 1]
    assert answer.ids == tuple(wanted[0, 2:].tolist())
    assert llm.blueprint().build(tokenizer_object=TOKENIZER).starts == (2, 1)


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_layers_of_both_stacks_may_be_computed_twice(family: str) -> None:
    llm = build(family)
    layers = Layers(VisionLanguageModel(llm=llm))
    assert [len(group) for group in layers.groups] == [3, 2]
    read, said = llm.embed(ids(SOURCES.offsets[-1])), llm.embed_answer(ids(TARGETS.offsets[-1]))

    def gradients() -> list[Tensor]:
        hidden = llm(llm.encode(read, SOURCES), SOURCES, said, TARGETS)
        weights = [p for p in llm.parameters() if p.requires_grad]
        found = torch.autograd.grad(hidden.square().sum(), weights, allow_unused=True)
        return [torch.zeros(1) if each is None else each for each in found]

    read, said = read.detach(), said.detach()
    plain = gradients()
    layers.recompute(lambda count: range(count))
    for got, want in zip(gradients(), plain, strict=True):
        assert torch.equal(got, want)


def test_no_bias_is_made_for_every_two_tokens_of_a_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    llm, sizes = build(), []
    for stack in (llm.model.encoder, llm.model.decoder):
        attention = stack.block[0].layer[0].SelfAttention
        compute = attention.compute_bias

        def noted(queries: int, keys: int, compute: Any = compute, **more: Any) -> Tensor:
            sizes.append((queries, keys))
            return compute(queries, keys, **more)

        monkeypatch.setattr(attention, "compute_bias", noted)
    memory = llm.encode(llm.embed(ids(SOURCES.offsets[-1])), SOURCES)
    llm(memory, SOURCES, llm.embed_answer(ids(TARGETS.offsets[-1])), TARGETS)
    assert sizes == [(21, 21), (9, 9)]


def test_a_family_with_local_layers_runs_padded_and_is_right() -> None:
    stack = {
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "query_pre_attn_scalar": 8},
        **{"vocab_size": len(TOKENIZER), "sliding_window": 4},
    }
    config = {"model_type": "t5gemma", "encoder": stack, "decoder": stack, "dropout_rate": 0.0}
    llm = Seq2Seq.Config(config=config).build(tokenizer_object=TOKENIZER).eval()
    assert not llm.ragged
    check_llm(llm.config, tokenizer_object=TOKENIZER)
    source, target, theirs = ids(9), ids(6), original(llm, AutoModelForSeq2SeqLM)
    with torch.no_grad():
        for head in (llm.model.lm_head, theirs.lm_head):
            head.out_proj.weight.mul_(1000)  # far into the soft cap
    own = Segments((9,))
    memory = llm.encode(llm.embed(source), own)
    found = llm.head(llm(memory, own, llm.embed_answer(target), Segments((6,))))
    wanted = theirs(input_ids=source[None], decoder_input_ids=target[None]).logits[0]
    assert wanted.abs().max() > 20
    assert relative(found, wanted) < 1e-5


def test_words_that_compete_for_experts_are_refused() -> None:
    sparse = {"num_experts": 2, "expert_capacity": 2}
    shape = {"model_type": "switch_transformers", **T5, **sparse}
    with pytest.raises(PartError, match="gives other results in a batch, or by its parts"):
        Seq2Seq.Config(config=shape).build(tokenizer_object=TOKENIZER)


def test_a_source_longer_than_the_table_of_positions_is_refused() -> None:
    llm = build("bart")
    llm.encode(llm.embed(ids(200)), Segments((128, 72)))
    with pytest.raises(InputError, match=r"129 tokens.*positions for 128. Write `max_length: 128`"):
        llm.encode(llm.embed(ids(129)), Segments((129,)))
    memory, own = llm.encode(llm.embed(ids(3)), Segments((3,))), Segments((129,))
    with pytest.raises(InputError, match="129 tokens"):
        llm(memory, Segments((3,)), llm.embed_answer(ids(129)), own)
    prompts = [Prompt(ids(3), torch.empty(0, dtype=torch.long))]
    with pytest.raises(InputError, match="ask for a shorter answer"):
        generate(VisionLanguageModel(llm=llm), prompts, Settings(max_new_tokens=140), Stops())
    t5 = build("t5")
    assert t5.encode(t5.embed(ids(200)), Segments((200,))).isfinite().all()


@pytest.mark.parametrize("family", ["t5", "umt5", "bart", "mbart"])
def test_it_conforms(family: str) -> None:
    config = Seq2Seq.Config(config={"model_type": family, **FAMILIES[family]})
    check_llm(config, tokenizer_object=TOKENIZER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published FLAN-T5, whose head is its own, with a tokenizer that ends every text."""
    from tokenizers.processors import TemplateProcessing

    place = tmp_path_factory.mktemp("t5")
    torch.manual_seed(0)
    shape = T5Config(
        **T5, vocab_size=len(TOKENIZER), tie_word_embeddings=False, **{"decoder_start_token_id": 0}
    )
    T5ForConditionalGeneration(shape).save_pretrained(place)
    tokenizer = copy.deepcopy(TOKENIZER)
    ending = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tokenizer.backend_tokenizer.post_processor = ending
    tokenizer.save_pretrained(place)
    return place


def test_published_weights_are_loaded_with_their_tokenizer(folder: Path) -> None:
    llm = Seq2Seq.Config(model=str(folder)).build().eval()
    assert (llm.starts, llm.ends) == ((0,), (2,))
    theirs = T5ForConditionalGeneration.from_pretrained(folder).eval()
    source, target = ids(9), ids(5)
    wanted = theirs(input_ids=source[None], decoder_input_ids=target[None]).logits[0]
    own = Segments((9,))
    memory = llm.encode(llm.embed(source), own)
    found = llm.head(llm(memory, own, llm.embed_answer(target), Segments((5,))))
    assert relative(found, wanted) < 1e-5


def test_it_conforms_when_loaded_from_a_folder(folder: Path) -> None:
    check_llm(Seq2Seq.Config(model=str(folder)))


def test_new_tokens_begin_as_the_mean_of_the_old_ones(folder: Path) -> None:
    larger = copy.deepcopy(TOKENIZER)
    larger.add_tokens(["<one>", "<two>"])
    llm = Seq2Seq.Config(model=str(folder)).build(tokenizer_object=larger)
    old = T5ForConditionalGeneration.from_pretrained(folder)
    found, known = llm.model.shared.weight, old.shared.weight
    assert torch.equal(found[:-2], known)
    assert torch.allclose(found[-2:], known.mean(0).expand(2, -1), atol=1e-6)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "llama"}, "'llama' is no encoder-decoder family"),
        ({"model_type": "t6"}, "'t6' is no encoder-decoder family.*like t5, mt5 or bart"),
        ({"model_type": "t5", "d_modl": 32}, "no key 'd_modl'. Did you mean 'd_model'"),
    ],
)
def test_a_wrong_inline_config_is_refused_with_the_key(config: dict, message: str) -> None:
    with pytest.raises(PartError, match=message):
        Seq2Seq.Config(config=config).build(tokenizer_object=TOKENIZER)
