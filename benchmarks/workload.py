"""The workload of every benchmark here: the length mix of LLaVA-665K, drawn anew from a seed.

LLaVA-1.5's instruction data (arXiv:2310.03744) averages about 770 tokens of a 7B model's
tokenizer at 576 visual tokens a picture; 8 % of the samples are text alone, 15-20 % of all
tokens are answers, and samples are cut at 2,048 tokens. Nothing of the data is read: lengths
follow two log-normal laws set to give those figures, and `describe` prints what came out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

SEED = 665
"""Seed of the printed figures."""
VISUAL = 576
"""Visual tokens of a picture in LLaVA-1.5: 24 x 24 patches."""
LONGEST = 2048
"""Tokens of the longest sample in LLaVA-1.5."""

TEXT_ONLY = 0.08
# Median and sigma of the words' tokens, and the answers' share of them.
_BESIDE_PICTURE = (140.0, 0.8, 0.5)
_ALONE = (650.0, 0.7, 0.7)


@dataclass(frozen=True)
class Shape:
    """Token counts of one sample: of its picture (0: text alone), its questions, its answers."""

    visual: int
    prompt: int
    answer: int

    @property
    def length(self) -> int:
        """All tokens."""
        return self.visual + self.prompt + self.answer

    @property
    def images(self) -> int:
        """Pictures: one, or none."""
        return int(self.visual > 0)


def shapes(count: int, *, visual: int = VISUAL, seed: int = SEED) -> list[Shape]:
    """`count` samples, the same ones for the same arguments.

    With fewer `visual` tokens a picture, all lengths shrink alike, so that a tiny model sees
    the mix of a large one: padding and packing efficiency stay what they are.
    """
    rng = random.Random(seed)
    scale = visual / VISUAL
    drawn = []
    for _ in range(count):
        alone = rng.random() < TEXT_ONLY
        median, sigma, answers = _ALONE if alone else _BESIDE_PICTURE
        room = LONGEST - (0 if alone else VISUAL)
        words = min(room, median * rng.lognormvariate(0, sigma)) * scale
        # The shares of answers differ from sample to sample, evenly around their mean.
        share = answers * rng.uniform(0.6, 1.4)
        prompt, answer = max(2, round(words * (1 - share))), max(2, round(words * share))
        drawn.append(Shape(0 if alone else visual, prompt, answer))
    return drawn


def padding_efficiency(lengths: Sequence[int], size: int) -> float:
    """Real tokens per token executed when batches of `size`, in order, are padded to their
    longest."""
    executed = 0
    for start in range(0, len(lengths), size):
        batch = lengths[start : start + size]
        executed += len(batch) * max(batch)
    return sum(lengths) / executed


def describe(drawn: Sequence[Shape]) -> list[str]:
    """Lines that state what a workload holds."""
    lengths = [shape.length for shape in drawn]
    tokens = sum(lengths)
    ordered = sorted(lengths)
    text_only = sum(not shape.images for shape in drawn) / len(drawn)
    supervised = sum(shape.answer for shape in drawn) / tokens
    return [
        f"{len(drawn):,} samples, {tokens:,} tokens",
        f"length: mean {tokens / len(drawn):.0f}, min {ordered[0]}, "
        f"median {ordered[len(ordered) // 2]}, max {ordered[-1]}",
        f"text alone {text_only:.1%} of samples, supervised {supervised:.1%} of tokens",
        f"padded in random batches of 8: efficiency {padding_efficiency(lengths, 8):.3f}",
    ]


if __name__ == "__main__":
    print(f"workload: seed {SEED}, {VISUAL} visual tokens a picture")
    print(*describe(shapes(20_000)), sep="\n")
