"""Whether two models are one, bit for bit; and a run to save them with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

RUN = "template: plain\nstages: []\n"
Build = Callable[..., Any]


def tensors_of(model: Any) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": tensor.clone()
        for part, module in model.parts().items()
        for name, tensor in module.state_dict().items()
    }


def same(one: Any, other: Any) -> bool:
    first, second = tensors_of(one), tensors_of(other)
    return first.keys() == second.keys() and all(
        torch.equal(tensor, second[name]) and tensor.dtype == second[name].dtype
        for name, tensor in first.items()
    )
