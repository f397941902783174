"""Weights of a part that is built from scratch.

Stock initialisation draws nearly everything at a standard deviation of 0.02, which suits models
thousands wide. A small model drawn so learns words but, for tens of thousands of pictures, never
what is in them; drawn larger it reads them within minutes. Hence `scaled`.

Tried on the demo's digits (a ViT and a LLaMA of 3 layers, 128 wide), several seeds each:
- layers at 1/sqrt(fan in) learn to read digits with some seeds only: those with much to add up
  (patches, the way down in an MLP) begin small beside the rest; hence 1/sqrt(width) for those.
- tables of words and places at 1/sqrt(width) are drowned by the visual tokens beside them, and
  where a digit stands is hardly ever learnt. With unit variance, and what writes to the residual
  stream smaller by 1/sqrt(2 depth) as in GPT-2, it is.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from isthmus.core.contracts import PartConfig, runtime_arguments
from isthmus.core.model.placeholders import Placeholders

Init = Literal["scaled", "stock"]
"""`scaled`: by the model's width; `stock`: the model family's own."""

TO_STREAM = frozenset(
    ("o_proj", "out_proj", "c_proj", "proj", "down_proj", "fc2", "fc_out", "dense_4h_to_h")
)
"""What families call the layers of a block whose output is added to the residual stream."""


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
def draw_scaled(module: nn.Module, width: int | None = None) -> None:
    """Draw anew, so that signals keep their size, what `module` drew at another.

    Layers at a standard deviation of 1/sqrt(fan in), where more than the model's `width` counts
    as the width; tables at 1, or like a layer when one serves as the head too; other parameters
    by their last dimension; what is added to the residual stream times 1/sqrt(2 depth). Biases
    are set to zero. What the family sets to a constant stays (norms at one, gates and layer
    scales at their value), and so does what it lays out on purpose, far from zero.
    """
    if Placeholders.active:
        return
    depth = _depth(module)
    uses = Counter(id(p) for m in module.modules() for p in m._parameters.values())
    done: set[int] = set()
    for path, child in module.named_modules():
        for name, parameter in child.named_parameters(recurse=False):
            if id(parameter) in done or not _drawn_around_zero(parameter):
                continue
            done.add(id(parameter))
            if name == "bias":
                parameter.zero_()
                continue
            table = isinstance(child, nn.Embedding) and uses[id(parameter)] == 1
            std = 1.0 if table else _fan_in(child, parameter, width) ** -0.5
            *place, last = path.split(".")
            if last in TO_STREAM and any(step.isdigit() for step in place):
                std *= (2 * depth) ** -0.5
            parameter.normal_(std=std)
            padding = getattr(child, "padding_idx", None)
            if padding is not None:
                parameter[padding].zero_()


def _depth(module: nn.Module) -> int:
    """Blocks of the deepest stack."""
    stacks = (m for m in module.modules() if isinstance(m, nn.ModuleList | nn.Sequential))
    return max((len(stack) for stack in stacks), default=0)


def _drawn_around_zero(parameter: Tensor) -> bool:
    if parameter.is_meta or not parameter.is_floating_point() or parameter.numel() < 2:
        return False
    std, mean = torch.std_mean(parameter.float())
    return bool(std > 0) and bool(mean.abs() < std)


def _fan_in(owner: nn.Module, weight: Tensor, width: int | None) -> int:
    if isinstance(owner, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        added = weight[0].numel()
    elif type(owner).__name__ == "Conv1D":  # GPT-2's linear layer, stored the other way round
        added = weight.shape[0]
    else:
        added = weight.shape[-1]
    return min(added, width or added)
