"""Weights of a part that is built from scratch.

Stock initialisation draws nearly everything at a standard deviation of 0.02, which suits models
thousands wide. A small model drawn so learns words but, for tens of thousands of pictures, never
what is in them; drawn at 1/sqrt(fan in) it reads them within minutes. Hence `scaled`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from isthmus.core.contracts import PartConfig, runtime_arguments

Init = Literal["scaled", "stock"]
"""`scaled`: 1/sqrt(fan in); `stock`: the model family's own."""


def part_seed(seed: int, name: str) -> int:
    """The seed that part `name` is drawn from: swapping one part leaves the others alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:7])


def drawn_from(config: PartConfig, name: str, seed: int, given: Mapping[str, Any]) -> Any:
    """Build a part, with those of the given arguments that it takes, from its own seed."""
    takes = runtime_arguments(config.owner)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(part_seed(seed, name))
        return config.build(**{key: value for key, value in given.items() if key in takes})


@torch.no_grad()
def draw_scaled(module: nn.Module) -> None:
    """Draw anew, at a standard deviation of 1/sqrt(fan in), what `module` drew at another.

    Weights of linear and convolution layers take their fan in; embeddings and other tables
    their last dimension. What the family sets to a constant stays (norms at one, gates and
    layer scales at their value), and so does what it lays out on purpose, far from zero.
    """
    done: set[int] = set()
    for child in module.modules():
        for name, parameter in child.named_parameters(recurse=False):
            if id(parameter) in done or not _drawn_around_zero(parameter):
                continue
            done.add(id(parameter))
            if name == "bias":
                parameter.zero_()
            else:
                parameter.normal_(std=_fan_in(child, parameter) ** -0.5)
                padding = getattr(child, "padding_idx", None)
                if padding is not None:
                    parameter[padding].zero_()


def _drawn_around_zero(parameter: Tensor) -> bool:
    if parameter.is_meta or not parameter.is_floating_point() or parameter.numel() < 2:
        return False
    std, mean = torch.std_mean(parameter.float())
    return bool(std > 0) and bool(mean.abs() < std)


def _fan_in(owner: nn.Module, weight: Tensor) -> int:
    if isinstance(owner, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return weight[0].numel()
    if type(owner).__name__ == "Conv1D":  # GPT-2's linear layer, stored the other way round
        return weight.shape[0]
    return weight.shape[-1]
