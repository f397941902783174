"""Prefix attention, beside dense attention under a mask written out token by token."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from isthmus.core.contracts import Segments
from isthmus.core.model import attention
from isthmus.core.model.across import across, with_prefix
from isthmus.core.model.attention import Rule
from isthmus.core.model.draw import drawn_from
from isthmus.core.model.generate import Prompt, Settings, Stops, generate
from isthmus.core.model.layers import Layers
from isthmus.core.model.layout import Layout
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import PartError
from isthmus.plugins.llms.causal import Causal
from isthmus.testing import check_llm
from tests.oracles import relative
from tests.plugins.llms.families import PADDED, RAGGED
from tests.plugins.llms.originals import TOKENIZER, ids, original

LENGTHS, PREFIXES = (7, 11, 1, 19, 5), (4, 11, 0, 7, 1)
SEGMENTS = Segments(LENGTHS, prefixes=PREFIXES)
CPU = torch.device("cpu")


def build(family: str = "llama", **fields: Any) -> Causal:
    shape = {"model_type": family, **(RAGGED | PADDED)[family]}
    config = Causal.Config(config=shape, attention="prefix", **fields)
    return drawn_from(config, "llm", 0, {"tokenizer_object": TOKENIZER}).eval()


def allowed(length: int, prefix: int, window: int | None = None) -> Tensor:
    """(tokens tokens) True where one sees another, by loops."""
    sees = torch.zeros(length, length, dtype=torch.bool)
    for at in range(length):
        for other in range(length):
            near = window is None or at - other < window
            sees[at, other] = (other <= at and near) or (at < prefix and other < prefix)
    return sees


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_each_sample_is_as_under_its_dense_mask(window: int | None, softcap: float | None) -> None:
    torch.manual_seed(0)
    tokens = sum(LENGTHS)
    query = torch.randn(tokens, 4, 8, dtype=torch.float64, requires_grad=True)
    key, value = (
        torch.randn(tokens, 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    rule = Rule(scale=0.3, window=window, softcap=softcap)
    found = with_prefix(query, key, value, Layout(SEGMENTS, CPU), rule)
    samples = zip(*(x.split(LENGTHS) for x in (query, key, value)), strict=True)
    wanted = []
    for (q, k, v), length, prefix in zip(samples, LENGTHS, PREFIXES, strict=True):
        k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) * 0.3
        scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
        scores = scores.masked_fill(~allowed(length, prefix, window), -torch.inf)
        wanted.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v))
    torch.testing.assert_close(found, torch.cat(wanted))
    direction = torch.randn_like(found)
    got = torch.autograd.grad((found * direction).sum(), (query, key, value))
    want = torch.autograd.grad((torch.cat(wanted) * direction).sum(), (query, key, value))
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_queries_look_at_keys_of_their_own_sample_alone(bias: bool, causal: bool) -> None:
    torch.manual_seed(0)
    seen = LENGTHS if causal else (3, 5, 8, 1, 20)
    query = torch.randn(sum(LENGTHS), 2, 4)
    key, value = torch.randn(2, sum(seen), 2, 4).unbind()
    table = torch.randn(1, 2, 20, 20) if bias else None
    rule = Rule(scale=0.5, causal=causal)
    layouts = (Layout(Segments(lengths), CPU) for lengths in (LENGTHS, seen))
    found = across(query, key, value, *layouts, rule, table)
    wanted = []
    for q, k, v in zip(query.split(LENGTHS), key.split(seen), value.split(seen), strict=True):
        scores = torch.einsum("qhd,khd->hqk", q, k) * 0.5
        if table is not None:
            scores = scores + table[0, :, : len(q), : len(k)]
        if causal:
            scores = scores.masked_fill(~allowed(len(q), 0), -torch.inf)
        wanted.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v))
    torch.testing.assert_close(found, torch.cat(wanted), rtol=1e-5, atol=1e-6)


def torchs(log: list[bool]) -> Any:
    """Today's signature of torch's kernel, played by attention written out."""

    def kernel(q, k, v, cu_q, cu_k, max_q, max_k, *, scale=None, window_size=(-1, -1)):
        log.append(window_size == (-1, 0))
        return played(q, k, v, cu_q, cu_k, scale, causal=window_size == (-1, 0))

    return kernel


def flash(log: list[bool]) -> Any:
    """flash-attn's."""

    def kernel(
        q, k, v, cu_q, cu_k, max_q, max_k, softmax_scale=None, causal=False, window_size=(-1, -1)
    ):
        log.append(causal)
        return played(q, k, v, cu_q, cu_k, softmax_scale, causal)

    return kernel


def played(q, k, v, cu_q, cu_k, scale: float, causal: bool) -> Tensor:
    out = []
    for (a, b), (c, d) in zip(pairwise(cu_q.tolist()), pairwise(cu_k.tolist()), strict=True):
        shared = q.shape[1] // k.shape[1]
        keys, values = (x[c:d].repeat_interleave(shared, dim=1) for x in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q[a:b], keys) * scale
        if causal:
            scores = scores.masked_fill(~allowed(b - a, 0), -torch.inf)
        out.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), values))
    return torch.cat(out)


@pytest.mark.parametrize("make", [torchs, flash])
def test_kernels_are_asked_for_the_causal_part_and_for_the_prefixes(
    monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    torch.manual_seed(0)
    q = torch.randn(sum(LENGTHS), 4, 8)
    k, v = torch.randn(2, sum(LENGTHS), 2, 8).unbind()
    wanted = with_prefix(q, k, v, Layout(SEGMENTS, CPU), Rule(scale=0.3))
    log: list[bool] = []
    monkeypatch.setattr(attention, "_wanted", lambda query: True)
    monkeypatch.setattr(attention, "_torchs", lambda: make(log))
    monkeypatch.setattr(attention, "_flash_attns", lambda: None)
    found = with_prefix(q, k, v, Layout(SEGMENTS, CPU), Rule(scale=0.3))
    assert log == [True, False]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's kernel runs on CUDA alone")
def test_torchs_kernel_agrees_on_cuda() -> None:
    torch.manual_seed(0)
    q = torch.randn(sum(LENGTHS), 4, 64)
    k, v = torch.randn(2, sum(LENGTHS), 2, 64).unbind()
    wanted = with_prefix(q, k, v, Layout(SEGMENTS, CPU), Rule(scale=0.125))
    half = [x.to("cuda", torch.bfloat16) for x in (q, k, v)]
    found = with_prefix(*half, Layout(SEGMENTS, torch.device("cuda")), Rule(scale=0.125))
    assert (found.float().cpu() - wanted).abs().max() < 0.03


def dense(model: Any, embeds: Tensor, prefix: int) -> Tensor:
    """Logits of one sample by transformers' own model under a mask of numbers."""
    sees = allowed(len(embeds), prefix)
    mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)
    inputs = {"inputs_embeds": embeds[None], "attention_mask": mask[None, None]}
    return model(**inputs, position_ids=torch.arange(len(embeds))[None]).logits[0]


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "qwen2", "phi"])
def test_a_pack_has_the_logits_and_gradients_of_each_sample_under_the_mask(family: str) -> None:
    llm = build(family)
    theirs = original(llm)
    embeds = llm.embed(ids(sum(LENGTHS))).detach()
    ours, alone = (embeds.clone().requires_grad_() for _ in range(2))
    logits = llm.head(llm(ours, SEGMENTS))
    pairs = zip(alone.split(LENGTHS), PREFIXES, strict=True)
    wanted = torch.cat([dense(theirs, sample, prefix) for sample, prefix in pairs])
    direction = torch.randn_like(logits)
    (logits * direction).sum().backward()
    (wanted * direction).sum().backward()
    assert relative(logits, wanted) < 1e-5
    assert relative(ours.grad, alone.grad) < 1e-5


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3_text", "mistral", "opt", "gpt2"])
def test_it_conforms(family: str) -> None:
    shape = {"model_type": family, **RAGGED[family]}
    check_llm(Causal.Config(config=shape, attention="prefix"), tokenizer_object=TOKENIZER)


def test_needed_tokens_have_the_values_of_the_whole_layer() -> None:
    llm = build()
    embeds, needed = llm.embed(ids(sum(LENGTHS))), torch.tensor([2, 8, 20, 41])
    wanted = llm(embeds, SEGMENTS)[needed]
    assert relative(llm(embeds, replace(SEGMENTS, needed=needed))[needed], wanted) < 1e-6


def test_prefixes_survive_recomputing() -> None:
    llm = build()
    layers = Layers(VisionLanguageModel(llm=llm))
    embeds = llm.embed(ids(sum(LENGTHS))).detach().requires_grad_()

    def gradient() -> Tensor:
        return torch.autograd.grad(llm(embeds, SEGMENTS).square().sum(), embeds)[0]

    plain = gradient()
    layers.recompute(lambda count: range(count))
    assert torch.equal(gradient(), plain)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_greedy_answers_follow_from_prompts_seen_both_ways(family: str) -> None:
    llm = build(family)
    theirs = original(llm)
    texts = [ids(9), ids(4), ids(1)]
    prompts = [Prompt(text, torch.empty(0, dtype=torch.long)) for text in texts]
    settings = Settings(max_new_tokens=8)
    answers = generate(VisionLanguageModel(llm=llm), prompts, settings, Stops())
    for text, answer in zip(texts, answers, strict=True):
        said = text
        for _ in range(8):  # the whole text anew for every token, without a cache
            logits = dense(theirs, llm.embed(said), len(text))
            said = torch.cat([said, logits[-1:].argmax(-1)])
        assert answer.ids == tuple(said[len(text) :].tolist())


@pytest.mark.parametrize("family", ["stablelm", "bloom", "falcon", "gpt_oss"])
def test_a_family_that_drops_segments_is_refused(family: str) -> None:
    with pytest.raises(PartError, match="cannot look both ways over a prefix; leave `attention"):
        build(family)


def test_a_causal_llm_is_given_no_prefix() -> None:
    llm = Causal.Config(config={"model_type": "llama", **RAGGED["llama"]})
    built = drawn_from(llm, "llm", 0, {"tokenizer_object": TOKENIZER})
    assert not built.prefix_attention
    assert build().blueprint().attention == "prefix"
