"""Packed attention beside attention written out sample by sample, score by score."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from isthmus.core.contracts import Segments
from isthmus.core.model import attention
from isthmus.core.model.attention import Rule, dense, packed
from isthmus.core.model.layout import Layout

LENGTHS = [(5,), (1, 1, 1), (7, 3, 1, 12, 6, 7), (2, 30, 3, 29, 1)]
CPU = torch.device("cpu")


def written_out(q: Tensor, k: Tensor, v: Tensor, rule: Rule) -> Tensor:
    """One sample, (tokens heads dim) each, with loops over heads, queries and keys."""
    out = torch.zeros(q.shape[0], q.shape[1], v.shape[2], dtype=q.dtype)
    shared = q.shape[1] // k.shape[1]
    for head, at in itertools.product(range(q.shape[1]), range(len(q))):
        first = 0 if rule.window is None else max(0, at - rule.window + 1)
        scores = k[first : at + 1, head // shared] @ q[at, head] * rule.scale
        if rule.softcap is not None:
            scores = rule.softcap * torch.tanh(scores / rule.softcap)
        out[at, head] = scores.softmax(0) @ v[first : at + 1, head // shared]
    return out


def random(lengths: tuple[int, ...], heads: int = 4, shared: int = 2, dim: int = 8):
    torch.manual_seed(sum(lengths))
    tokens = sum(lengths)
    query = torch.randn(tokens, heads, dim, dtype=torch.float64, requires_grad=True)
    key, value = (
        torch.randn(tokens, heads // shared, dim, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    )
    return query, key, value


RULES = {
    "plain": Rule(scale=0.3),
    "window": Rule(scale=0.3, window=4),
    "softcap": Rule(scale=0.3, softcap=1.5),
    "both": Rule(scale=0.3, window=3, softcap=1.5),
}


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("shared", [1, 2, 4])
def test_a_pack_gives_what_each_sample_gives(lengths, rule: Rule, shared: int) -> None:
    q, k, v = random(lengths, shared=shared)
    samples = zip(*(torch.split(x, list(lengths)) for x in (q, k, v)), strict=True)
    wanted = torch.cat([written_out(*sample, rule) for sample in samples])
    got = packed(q, k, v, Layout(Segments(lengths), CPU), rule)
    assert torch.allclose(got, wanted, atol=1e-12)
    direction = torch.randn_like(wanted)
    ours = torch.autograd.grad((got * direction).sum(), (q, k, v))
    theirs = torch.autograd.grad((wanted * direction).sum(), (q, k, v))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("new", [1, 3, 9])
def test_dense_attention_of_the_last_tokens_is_the_end_of_that_of_all(rule, new: int) -> None:
    q, k, v = (x[None].transpose(1, 2) for x in random((9,)))
    whole = written_out(*(x[0].transpose(0, 1) for x in (q, k, v)), rule)
    got = dense(q[:, :, -new:], k, v, None, rule)
    assert torch.allclose(got[0].transpose(0, 1), whole[-new:], atol=1e-12)


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_a_mask_says_who_is_seen(softcap: float | None) -> None:
    rule = Rule(scale=0.3, softcap=softcap)
    q, k, v = (x[None].transpose(1, 2) for x in random((6,)))
    mask = torch.ones(6, 6, dtype=torch.bool).tril()
    mask[:, :2] = False
    mask[0, 0] = mask[1, 1] = True
    added = torch.zeros(6, 6, dtype=torch.float64).masked_fill(~mask, -math.inf)
    wanted = written_out(*(x[0, :, 2:].transpose(0, 1) for x in (q, k, v)), rule)
    for given in (mask[None, None], added[None, None]):
        got = dense(q, k, v, given, rule)
        assert torch.allclose(got[0, :, 2:].transpose(0, 1), wanted, atol=1e-12)


def test_without_causality_every_token_sees_every_other() -> None:
    q, k, v = (x[None].transpose(1, 2) for x in random((6,), shared=1))
    weights = (q @ k.transpose(-1, -2) * 0.3).softmax(-1)
    assert torch.allclose(dense(q, k, v, None, Rule(0.3, causal=False)), weights @ v, atol=1e-12)


def windowed(log: list):
    def kernel(q, k, v, cu_q, cu_k, max_q, max_k, *, scale=None, window_size=(-1, -1)):
        log.append({"scale": scale, "window": window_size, "starts": cu_q.tolist(), "max": max_q})
        left = None if window_size[0] < 0 else window_size[0] + 1
        return fused(q, k, v, cu_q, Rule(scale, window=left))

    return kernel


def flagged(log: list):
    def kernel(q, k, v, cu_q, cu_k, max_q, max_k, is_causal=False):
        log.append({"causal": is_causal, "heads": k.shape[1]})
        return fused(q, k, v, cu_q, Rule(q.shape[-1] ** -0.5))

    return kernel


def package(log: list):
    """The signature of flash-attn 2.6 and later."""

    def kernel(
        q,
        k,
        v,
        cu_seqlens_q,
        cu_seqlens_k,
        max_seqlen_q,
        max_seqlen_k,
        dropout_p=0.0,
        softmax_scale=None,
        causal=False,
        window_size=(-1, -1),
        softcap=0.0,
    ):
        log.append({"heads": k.shape[1]})
        assert causal
        left = None if window_size[0] < 0 else window_size[0] + 1
        rule = Rule(softmax_scale, window=left, softcap=softcap or None)
        return fused(q, k, v, cu_seqlens_q, rule)

    return kernel


def fused(q: Tensor, k: Tensor, v: Tensor, starts: Tensor, rule: Rule) -> Tensor:
    ends = itertools.pairwise(starts.tolist())
    return torch.cat([written_out(q[a:b], k[a:b], v[a:b], rule) for a, b in ends])


@pytest.mark.parametrize("make", [windowed, flagged, package])
@pytest.mark.parametrize("rule", [RULES["plain"], RULES["window"], RULES["softcap"]])
def test_a_kernel_is_given_the_same_task_whatever_its_arguments(
    monkeypatch: pytest.MonkeyPatch, make, rule: Rule
) -> None:
    """Two generations of torch's signature and flash-attn's, played by attention written out."""
    log: list[dict] = []
    monkeypatch.setattr(attention, "_wanted", lambda query: True)
    monkeypatch.setattr(attention, "_torchs", lambda: make(log))
    monkeypatch.setattr(attention, "_flash_attns", lambda: None)
    lengths = (5, 1, 9)
    q, k, v = random(lengths, shared=2)
    got = packed(q, k, v, Layout(Segments(lengths), CPU), rule)
    samples = zip(*(torch.split(x, list(lengths)) for x in (q, k, v)), strict=True)
    assert torch.allclose(got, torch.cat([written_out(*s, rule) for s in samples]), atol=1e-12)
    follows = rule.softcap is None and (make is windowed or rule.window is None)
    assert bool(log) == (make is package or follows)


def test_flash_attn_takes_what_torchs_kernel_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    torchs: list[dict] = []
    theirs: list[dict] = []
    monkeypatch.setattr(attention, "_wanted", lambda query: True)
    monkeypatch.setattr(attention, "_torchs", lambda: windowed(torchs))
    monkeypatch.setattr(attention, "_flash_attns", lambda: package(theirs))
    q, k, v = random((5, 9), shared=2)
    layout = Layout(Segments((5, 9)), CPU)
    packed(q, k, v, layout, RULES["window"])
    assert (len(torchs), len(theirs)) == (1, 0)
    packed(q, k, v, layout, RULES["softcap"])
    assert (len(torchs), len(theirs)) == (1, 1)
    assert theirs[0]["heads"] == k.shape[1]  # shared by the kernel, not copied


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's kernel runs on CUDA alone")
@pytest.mark.parametrize("rule", [RULES["plain"], RULES["window"]])
def test_torchs_kernel_agrees_on_cuda(rule: Rule) -> None:
    lengths = (5, 1, 90, 33)
    q, k, v = random(lengths, dim=64)
    samples = zip(*(torch.split(x, list(lengths)) for x in (q, k, v)), strict=True)
    wanted = torch.cat([written_out(*sample, rule) for sample in samples]).float()
    half = [x.detach().to("cuda", torch.bfloat16) for x in (q, k, v)]
    got = packed(*half, Layout(Segments(lengths), torch.device("cuda")), rule).float().cpu()
    assert (got - wanted).abs().max() < 0.03


def test_samples_of_like_lengths_are_computed_together() -> None:
    layout = Layout(Segments((10, 30, 9, 28, 8, 2)), CPU)
    assert [group.lengths for group in layout.groups] == [(30, 28), (10, 9, 8), (2,)]
    assert layout.positions.tolist() == [p for n in (10, 30, 9, 28, 8, 2) for p in range(n)]
    assert layout.boundaries.tolist() == [0, 10, 40, 49, 77, 85, 87]
    assert layout.longest == 30


def test_the_whole_pack_as_a_batch_repeats_last_tokens() -> None:
    index = Layout(Segments((3, 1)), CPU).whole.index
    assert index.tolist() == [[0, 1, 2], [3, 3, 3]]
