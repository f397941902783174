"""Weights that hold a place: filled in no time, and nothing of them left after loading."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from isthmus.core.model.placeholders import BLOCK, Placeholders


def test_draws_have_their_mean_and_spread() -> None:
    with Placeholders():
        normal = torch.empty(700, 500).normal_(mean=2.0, std=0.5)
        flat = torch.empty(700, 500).uniform_(-1, 3)
        initial = nn.init.trunc_normal_(torch.empty(700, 500), std=0.1)
        linear = nn.Linear(400, 300)
    assert normal.mean().item() == pytest.approx(2.0, abs=0.01)
    assert normal.std().item() == pytest.approx(0.5, abs=0.01)
    assert (flat.min().item(), flat.max().item()) == pytest.approx((-1, 3), abs=0.001)
    assert flat.mean().item() == pytest.approx(1.0, abs=0.01)
    assert initial.std().item() == pytest.approx(0.1, abs=0.01)
    assert linear.weight.std().item() == pytest.approx(0.05 / 3**0.5, rel=0.02)
    assert linear.weight.requires_grad


def test_rows_of_large_matrices_differ_and_any_layout_is_filled() -> None:
    with Placeholders():
        large = torch.empty(2100, 1024).normal_()
        turned = torch.empty(30, 40).t().normal_()
        half = torch.empty(1000, dtype=torch.bfloat16).normal_()
    assert large.numel() > 2 * BLOCK
    assert len(torch.unique(large, dim=0)) == len(large)
    assert turned.std().item() == pytest.approx(1.0, abs=0.1)
    assert half.float().std().item() == pytest.approx(1.0, abs=0.1)


def test_run_s_own_draws_are_as_ever_before_and_after() -> None:
    torch.manual_seed(3)
    wanted = torch.empty(4).normal_()
    torch.manual_seed(3)
    with Placeholders():
        torch.empty(4).normal_()
    assert torch.equal(torch.empty(4).normal_(), wanted)


def test_filling_is_many_times_as_fast_as_drawing() -> None:
    def seconds(tensor: torch.Tensor) -> float:
        began = time.thread_time()
        tensor.normal_()
        return time.thread_time() - began

    tensor = torch.zeros(8 * BLOCK)
    drawing = min(seconds(tensor) for _ in range(3))
    with Placeholders():
        tensor.normal_()
        filling = min(seconds(tensor) for _ in range(3))
    print(f"drawing {drawing:.3f} s, filling {filling:.3f} s")
    assert filling < drawing / 2
