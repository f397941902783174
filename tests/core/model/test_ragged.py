"""The attention backend: what it refuses, and what it says to transformers' mask interface."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isthmus.core.contracts import Segments
from isthmus.core.model.across import Across
from isthmus.core.model.layout import Layout
from isthmus.core.model.ragged import BACKEND, Local, attention, register
from isthmus.errors import WorkError

QKV = tuple(torch.randn(1, 2, 6, 4) for _ in range(3))
LAYOUT = Layout(Segments((4, 2)), torch.device("cpu"))
LAYER = nn.Module()


def mask(**given):
    from transformers import AttentionMaskInterface

    register()
    shape = {"batch_size": 2, "q_length": 3, "kv_length": 3, "kv_offset": 0}
    return AttentionMaskInterface._global_mapping[BACKEND](**{**shape, **given})


def test_segments_beside_a_mask_are_refused() -> None:
    with pytest.raises(WorkError, match="its samples would see each other"):
        attention(LAYER, *QKV, torch.ones(1, 1, 6, 6, dtype=torch.bool), segments=LAYOUT)


@pytest.mark.parametrize("extra", ["s_aux", "cache"])
def test_what_it_cannot_compute_is_refused_and_not_left_out(extra: str) -> None:
    with pytest.raises(WorkError, match=extra):
        attention(LAYER, *QKV, None, **{extra: torch.ones(2)})


def test_a_layer_that_looks_both_ways_sees_its_whole_sample_and_no_other() -> None:
    output, _ = attention(LAYER, *QKV, None, is_causal=False, segments=LAYOUT)
    alone = [
        attention(LAYER, *(x[:, :, rows] for x in QKV), None, is_causal=False)[0]
        for rows in (slice(0, 4), slice(4, 6))
    ]
    torch.testing.assert_close(output, torch.cat(alone, dim=1))


def test_segments_of_another_sequence_are_refused() -> None:
    short = Across(LAYOUT, Layout(Segments((3, 2)), torch.device("cpu")))
    with pytest.raises(WorkError, match="other tokens than its pack's segments"):
        attention(LAYER, *QKV, None, is_causal=False, segments=short)


def test_a_bias_is_added_by_places_in_the_own_sample() -> None:
    bias = torch.randn(1, 2, 4, 4)
    output, _ = attention(LAYER, *QKV, None, segments=LAYOUT, position_bias=bias)
    alone = [
        attention(LAYER, *(x[:, :, a:b] for x in QKV), None, position_bias=bias[..., :n, :n])[0]
        for a, b, n in ((0, 4, 4), (4, 6, 2))
    ]
    torch.testing.assert_close(output, torch.cat(alone, dim=1))


def test_a_window_must_be_known_to_the_layer_that_has_it() -> None:
    output, weights = attention(LAYER, *QKV, Local(3), sliding_window=3, segments=LAYOUT)
    assert output.shape == (1, 6, 2, 4)
    assert weights is None
    for window in (None, 4):
        with pytest.raises(WorkError, match="local attention"):
            attention(LAYER, *QKV, Local(3), sliding_window=window, segments=LAYOUT)


@pytest.mark.parametrize("segments", [LAYOUT, None])
def test_under_autocast_queries_left_in_fp32_are_computed_in_half(segments) -> None:
    query, key, value = QKV
    wanted, _ = attention(LAYER, *QKV, None, segments=segments)
    with torch.autocast("cpu", torch.bfloat16):
        got, _ = attention(LAYER, query, key, value.bfloat16(), None, segments=segments)
    assert got.dtype == torch.bfloat16
    assert (got.float() - wanted).abs().max() < 0.05


def test_a_pack_has_no_mask() -> None:
    assert mask(attention_mask=None, q_offset=0) is None
    assert mask(attention_mask=None, q_offset=0, local_size=7) == Local(7)


def test_left_padding_and_a_filled_cache_have_one() -> None:
    padded = torch.tensor([[0, 1, 1], [1, 1, 1]], dtype=torch.bool)
    wanted = padded[:, None, None] & torch.ones(3, 3, dtype=torch.bool).tril()
    assert torch.equal(mask(attention_mask=padded, q_offset=0), wanted)
    later = mask(attention_mask=None, q_offset=4, q_length=2, kv_length=6)
    assert torch.equal(later[0, 0], torch.ones(6, 6, dtype=torch.bool).tril()[4:])


def test_it_is_registered_once() -> None:
    from transformers import AttentionInterface

    assert register() == register() == BACKEND
    assert AttentionInterface._global_mapping[BACKEND] is attention
