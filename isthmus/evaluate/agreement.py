"""How far raters agree: judges on answers, models on questions, runs with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Literal

Level = Literal["nominal", "ordinal", "interval"]


def alpha(ratings: Sequence[Sequence[Any]], level: Level = "nominal") -> float | None:
    """Krippendorff's alpha: 1 is agreement, 0 is chance, below it is worse than chance.

    `ratings` has a row for each rater and a column for each question; None is a rating that is
    missing. What only one rater rated is left out. Without two different values there is
    nothing to agree on, and the result is None. (Krippendorff 2011, "Computing Krippendorff's
    alpha-reliability".)
    """
    units = [[value for value in unit if value is not None] for unit in zip(*ratings, strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    together: Counter[tuple[Hashable, Hashable]] = Counter()
    for unit in units:
        counts = Counter(unit)
        for one, times in counts.items():
            for other, often in counts.items():
                pairs = times * (often - (one == other))
                together[one, other] += pairs / (len(unit) - 1)
    margin: Counter[Any] = Counter()
    for (one, _), pairs in together.items():
        margin[one] += pairs
    if len(margin) < 2:
        return None
    distance = _distances(margin, level)
    n = sum(margin.values())
    observed = sum(pairs * distance(*pair) for pair, pairs in together.items())
    expected = sum(
        margin[one] * margin[other] * distance(one, other) for one in margin for other in margin
    )
    return 1 - (n - 1) * observed / expected


def _distances(margin: Counter[Any], level: Level) -> Any:
    """The squared difference between two values."""
    if level == "nominal":
        return lambda one, other: float(one != other)
    if level == "interval":
        return lambda one, other: float(one - other) ** 2
    ordered = sorted(margin)
    below: dict[Any, float] = {}
    seen = 0.0
    for value in ordered:
        # Ranks count half of the ratings that are equal, so the two ends of a span do, too.
        below[value] = seen + margin[value] / 2
        seen += margin[value]
    return lambda one, other: (below[one] - below[other]) ** 2
