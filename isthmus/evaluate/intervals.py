"""How sure a score is: bootstrap intervals, and whether one model is better than another.

Questions about one image share its difficulty. So images are drawn, not questions, and two
models are compared by exchanging their answers image by image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from isthmus.core.contracts import Outcome
from isthmus.evaluate.sums import Floats, Headline, Sums

LEVEL = 0.95
DRAWS = 1000
EXCHANGES = 4999
MANY = 30
"""Clusters whose exchanges are certainly too many to try them all."""
CHUNK = 2_000_000
"""Numbers drawn at once: what bounds the memory."""


def interval(
    score: Headline,
    runs: Sequence[Sequence[Outcome]],
    clusters: Sequence[int],
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float] | None:
    """95 % bootstrap interval of the mean score of the runs; None where it has no meaning.

    Clusters are drawn with replacement, the same for every run. The percentiles are moved
    outwards as Student's t is wider than the normal curve, since percentiles alone are too
    narrow with few clusters (Hesterberg 2015, arXiv:1411.5279, "expanded percentile").
    """
    count = max(clusters, default=-1) + 1
    if count < 2:
        return None
    sums = [Sums.of(run, clusters) for run in runs]
    found = []
    for weights in _resamples(count, draws, np.random.default_rng(seed)):
        scores = [each.scores(weights @ each.table, score) for each in sums]
        found.append(np.mean(scores, axis=0))
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    if len(values) < draws / 2:
        return None
    normal = NormalDist()
    t = student_t(0.5 + LEVEL / 2, count - 1)
    tail = normal.cdf(-math.sqrt(count / (count - 1)) * t)
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _resamples(count: int, draws: int, random: np.random.Generator) -> Iterator[Floats]:
    """(some draws, clusters): how often each cluster was drawn; `draws` rows in all."""
    at_once = max(1, CHUNK // count)
    for first in range(0, draws, at_once):
        rows = min(at_once, draws - first)
        drawn = random.integers(count, size=(rows, count)) + np.arange(rows)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        yield weights.astype(np.float64)


def student_t(probability: float, freedom: int) -> float:
    """Quantile of Student's t, exact for 1 and 2 degrees of freedom, else by its expansion
    around the normal one (Abramowitz and Stegun 26.7.5)."""
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        return (2 * probability - 1) / math.sqrt(2 * probability * (1 - probability))
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


@dataclass(frozen=True)
class Comparison:
    """Two models on the same questions: `difference` is the second's score less the first's,
    `p_value` how often chance alone gives one as large. `n_pairs` questions have both."""

    difference: float
    p_value: float
    n_pairs: int


def compare(
    score: Headline,
    first: Sequence[Outcome],
    second: Sequence[Outcome],
    clusters: Sequence[int],
    draws: int = EXCHANGES,
    seed: int = 0,
) -> Comparison | None:
    """Paired permutation test, two-sided. A question that lacks either value is left out of
    both. All exchanges are tried where there are few enough. None without a pair."""
    pairs = [
        (one, other, cluster)
        for one, other, cluster in zip(first, second, clusters, strict=True)
        if not (one.is_missing or other.is_missing)
    ]
    if not pairs:
        return None
    ones, others, numbers = zip(*pairs, strict=True)
    dense = {number: place for place, number in enumerate(dict.fromkeys(numbers))}
    places = [dense[number] for number in numbers]
    both = Sums.of([*ones, *others], [*places, *(place + len(dense) for place in places)])
    here, there = both.table[: len(dense)], both.table[len(dense) :]
    change = there - here

    def differences(exchanged: Floats) -> Floats:
        moved = exchanged @ change
        one = both.scores(here.sum(0) + moved, score)
        return both.scores(there.sum(0) - moved, score) - one

    observed = float(differences(np.zeros((1, len(dense))))[0])
    if not math.isfinite(observed):
        return None
    whole = len(dense) < MANY and 2 ** len(dense) <= draws
    random = np.random.default_rng(seed)
    chosen = _every(len(dense)) if whole else _some(len(dense), draws, random)
    tried = np.concatenate([differences(exchanged) for exchanged in chosen])
    # Sums in another order differ by rounding; what is as large must not seem smaller.
    extreme = int((np.abs(tried) >= abs(observed) - 1e-9).sum())
    p_value = extreme / len(tried) if whole else (extreme + 1) / (len(tried) + 1)
    return Comparison(observed, p_value, len(pairs))


def _every(count: int) -> Iterator[Floats]:
    """(all there are, clusters), 1 where the models change places."""
    yield ((np.arange(2**count)[:, None] >> np.arange(count)) & 1).astype(np.float64)


def _some(count: int, draws: int, random: np.random.Generator) -> Iterator[Floats]:
    """(some draws, clusters), 1 where the models change places; `draws` rows in all."""
    at_once = max(1, CHUNK // count)
    for first in range(0, draws, at_once):
        rows = min(at_once, draws - first)
        yield random.integers(0, 2, (rows, count), dtype=np.int8).astype(np.float64)
