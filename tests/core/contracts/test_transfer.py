"""Tensors sent to a device."""

from __future__ import annotations

import pytest
import torch

from isthmus.core.contracts.transfer import send


def test_a_tensor_that_is_there_stays_as_it_is():
    tensor = torch.arange(3)
    assert send(tensor, torch.device("cpu")) is tensor


@pytest.mark.skipif(not torch.cuda.is_available(), reason="memory is pinned for CUDA alone")
def test_many_tensors_sent_at_once_arrive_whole():
    sent = [(n, send(torch.full((1000, 1000), n), torch.device("cuda"))) for n in range(50)]
    assert all(bool((tensor == n).all()) for n, tensor in sent)
