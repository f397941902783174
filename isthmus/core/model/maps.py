"""Features as maps: patches side by side as the picture has them, for connectors that look at
neighbours.

A map is one grid of an image, or one frame of it. What stands before its patches (class and
register tokens) has no place on it and is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from isthmus.core.contracts import Features, Grids

TokensOfMap = Callable[[int, int], int]
"""(height, width) of a map, in patches -> the visual tokens that are made of it."""


def tokens_of_maps(grids: Grids, tokens: TokensOfMap) -> int:
    """Visual tokens of an image whose every map becomes so many."""
    return sum(grid.frames * tokens(grid.height, grid.width) for grid in grids)


def over_maps(features: Features, run: Callable[[Tensor], Tensor]) -> Tensor:
    """Run maps (maps height width dim) -> (maps tokens dim_out), those of one size together.
    Returns the tokens of all images, end to end (tokens dim_out)."""
    grids = [grid for each in features.grids for grid in each]
    runs = torch.split(features.values, [grid.num_features for grid in grids])
    of_size: dict[tuple[int, int], list[int]] = {}
    for number, grid in enumerate(grids):
        of_size.setdefault((grid.height, grid.width), []).append(number)
    tokens: dict[int, Tensor] = {}
    for (height, width), numbers in of_size.items():
        maps = []
        for number in numbers:
            frames = rearrange(runs[number], "(f t) d -> f t d", f=grids[number].frames)
            patches = frames[:, grids[number].prefix :]
            maps.append(rearrange(patches, "f (h w) d -> f h w d", h=height, w=width))
        made = torch.split(run(torch.cat(maps)), [len(each) for each in maps])
        tokens |= {n: each.flatten(0, 1) for n, each in zip(numbers, made, strict=True)}
    return torch.cat([tokens[number] for number in range(len(grids))])
