"""How the samples of a pack lie in it: what attention layers need to know, made once per pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from isthmus.core.contracts import Segments

SPREAD = 0.75
"""Segments are computed together when the shortest has at least this share of the longest."""


@dataclass(frozen=True)
class Group:
    """Segments of like lengths. `index` (segments longest): their tokens' places in the pack;
    a shorter segment repeats its last token, which no real token looks back at. `samples` are
    the segments' numbers."""

    index: Tensor
    lengths: tuple[int, ...]
    samples: tuple[int, ...]

    @property
    def real(self) -> Tensor | None:
        """(segments longest) True where it is no repetition; None, it is nowhere."""
        if len(set(self.lengths)) == 1:
            return None
        lengths = torch.tensor(self.lengths, device=self.index.device)
        return torch.arange(self.index.shape[1], device=self.index.device) < lengths[:, None]


class Layout:
    """Segments on a device. Everything is computed when first asked for, and then kept."""

    def __init__(self, segments: Segments, device: torch.device) -> None:
        self.segments = segments
        self.device = device

    @cached_property
    def positions(self) -> Tensor:
        """(tokens) position of each token in its own sample."""
        return self.segments.positions(self.device)

    @cached_property
    def boundaries(self) -> Tensor:
        """(samples + 1) int32 starts, as variable-length kernels want them."""
        return torch.tensor(self.segments.offsets, dtype=torch.int32, device=self.device)

    @cached_property
    def longest(self) -> int:
        return max(self.segments.lengths)

    @cached_property
    def groups(self) -> list[Group]:
        """Segments of like lengths together, so that few computations waste little."""
        lengths = self.segments.lengths
        order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
        runs: list[list[int]] = []
        for sample in order:
            if runs and lengths[sample] >= SPREAD * lengths[runs[-1][0]]:
                runs[-1].append(sample)
            else:
                runs.append([sample])
        return [self.group(run) for run in runs]

    @cached_property
    def whole(self) -> Group:
        """All segments as one group, in order: the padded batch of a pack."""
        return self.group(list(range(len(self.segments.lengths))))

    @cached_property
    def prefix(self) -> tuple[Tensor, Layout] | None:
        """Places in the pack of all prefixes' tokens, and how they lie end to end; None where
        there are none."""
        segments = self.segments
        pairs = zip(segments.offsets, segments.prefixes or (), strict=False)
        runs = [(start, length) for start, length in pairs if length]
        if not runs:
            return None
        rows = torch.cat([torch.arange(start, start + length) for start, length in runs])
        own = Segments(tuple(length for _, length in runs))
        return rows.to(self.device), Layout(own, self.device)

    @cached_property
    def way_back(self) -> Tensor:
        """(tokens) where each token of the pack stands in the outputs of `groups`, end to end."""
        home = torch.empty(self.segments.offsets[-1], dtype=torch.long)
        base = 0
        for group in self.groups:
            rows, longest = group.index.shape
            for row, (first, length) in enumerate(
                zip(group.index[:, 0].tolist(), group.lengths, strict=True)
            ):
                home[first : first + length] = torch.arange(length) + base + row * longest
            base += rows * longest
        return home.to(self.device)

    def group(self, samples: Sequence[int]) -> Group:
        """These segments as one group, in this order."""
        lengths = tuple(self.segments.lengths[sample] for sample in samples)
        starts = torch.tensor([self.segments.offsets[sample] for sample in samples])
        last = torch.tensor(lengths) - 1
        index = starts[:, None] + torch.minimum(torch.arange(max(lengths)), last[:, None])
        return Group(index.to(self.device), lengths, tuple(samples))


def sees(segments: Segments, stands: Tensor, images: int, everywhere: bool = False) -> Tensor:
    """(tokens images) True where the image stands before the token, in the token's sample.

    `stands` (images 2): the sample of each image, and how many of its tokens come before it;
    empty, the images are none that anybody sees. `everywhere`, those before it see it, too.
    """
    device = stands.device
    if not len(stands):
        return torch.zeros(segments.offsets[-1], images, dtype=torch.bool, device=device)
    lengths = torch.tensor(segments.lengths, device=device)
    samples = torch.arange(len(lengths), device=device).repeat_interleave(lengths)
    sample, before = stands.unbind(dim=1)
    own = samples[:, None] == sample[None]
    return own if everywhere else own & (segments.positions(device)[:, None] >= before[None])
