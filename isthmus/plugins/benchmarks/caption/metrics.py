"""BLEU, ROUGE-L and CIDEr-D of one caption, as counts and numbers that add up over captions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

Words = Sequence[str]
Gram = tuple[str, ...]

LONGEST = 4
"""Words of the longest n-gram."""
BETA = 1.2
"""Weight of recall in ROUGE-L, as COCO's evaluation has it."""
SIGMA = 6.0
"""CIDEr-D's tolerance of a different length, in words."""


def grams(words: Words) -> list[Counter[Gram]]:
    """Counts of the n-grams, n from 1 to 4."""
    return [
        Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
        for n in range(1, LONGEST + 1)
    ]


def bleu_counts(words: Words, references: Sequence[Words]) -> dict[str, float]:
    """What corpus BLEU is made of (Papineni et al. 2002): n-grams that some reference has, all
    n-grams, the caption's length, and that of the reference nearest to it in length."""
    own, theirs = grams(words), [grams(reference) for reference in references]
    counts: dict[str, float] = {}
    for n in range(LONGEST):
        most: Counter[Gram] = Counter()
        for reference in theirs:
            most |= reference[n]
        counts[f"match{n + 1}"] = float((own[n] & most).total())
        counts[f"guess{n + 1}"] = float(own[n].total())
    nearest = min((abs(len(r) - len(words)), len(r)) for r in references)[1]
    return {**counts, "length": float(len(words)), "reference": float(nearest)}


def bleu(totals: Mapping[str, float]) -> list[float]:
    """BLEU-1 to BLEU-4 of the whole, 0 to 1, without smoothing."""
    if not totals["length"]:
        return [0.0] * LONGEST
    penalty = min(0.0, 1 - totals["reference"] / totals["length"])
    scores, logs = [], 0.0
    for n in range(1, LONGEST + 1):
        match, guess = totals[f"match{n}"], totals[f"guess{n}"]
        logs += math.log(match / guess) if match else -math.inf
        scores.append(math.exp(penalty + logs / n))
    return scores


def rouge_l(words: Words, references: Sequence[Words]) -> float:
    """F of the longest common subsequence (Lin 2004), 0 to 1; precision and recall are each the
    best over the references, as COCO's evaluation has it."""
    common = [_common(words, reference) for reference in references]
    if not words or not max(common):
        return 0.0
    precision = max(common) / len(words)
    recall = max(c / len(r) for c, r in zip(common, references, strict=True) if r)
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common(one: Words, other: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, compared in enumerate(other, 1):
            above = row[place]
            row[place] = before + 1 if word == compared else max(above, row[place - 1])
            before = above
    return row[-1]


class CiderD:
    """CIDEr-D (Vedantam et al. 2015, arXiv:1411.5726) with the document frequencies of these
    references: n-grams that few images have weigh more."""

    def __init__(self, references: Iterable[Sequence[Words]]) -> None:
        self.frequency: Counter[Gram] = Counter()
        images = 0
        for image in references:
            images += 1
            self.frequency.update({gram for words in image for n in grams(words) for gram in n})
        self.rarest = math.log(images) if images else 0.0

    def __call__(self, words: Words, references: Sequence[Words]) -> float:
        """0 to 10."""
        own = self._weighed(words)
        total = 0.0
        for reference in references:
            theirs = self._weighed(reference)
            nearness = math.exp(-((len(words) - len(reference)) ** 2) / (2 * SIGMA**2))
            total += nearness * sum(map(_clipped_cosine, own, theirs)) / LONGEST
        return 10 * total / len(references)

    def _weighed(self, words: Words) -> list[dict[Gram, float]]:
        return [
            {
                gram: times * (self.rarest - math.log(max(1, self.frequency[gram])))
                for gram, times in counts.items()
            }
            for counts in grams(words)
        ]


def _clipped_cosine(own: Mapping[Gram, float], theirs: Mapping[Gram, float]) -> float:
    """Cosine in which a gram counts no more than the reference has it."""
    lengths = math.hypot(*own.values()) * math.hypot(*theirs.values())
    shared = own.keys() & theirs.keys()
    product = sum(min(own[gram], theirs[gram]) * theirs[gram] for gram in shared)
    return product / lengths if lengths else 0.0
