"""What a report is made of, gathered sample by sample so that none has to be kept."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from typing import Any

from isthmus.core.chat import Journal
from isthmus.core.scene import object_words, objects_in
from isthmus.synthesize.config import SynthesisConfig
from isthmus.synthesize.dataset import Made, Tally
from isthmus.synthesize.plan import Plan
from isthmus.synthesize.quality import REASONS

SHOWN = 20
TOP = 25
STEP = 20
"""Words of one bar of the lengths."""
WORD = re.compile(r"[a-z']+")
VERBS = {
    *("is", "are", "was", "were", "do", "does", "did", "can", "could", "will", "would", "should"),
    *("might", "may", "has", "have", "describe", "tell", "give", "write", "explain", "name"),
    *("list", "count", "compare", "sum", "say", "show", "see", "look", "find", "sort", "paint"),
    *("walk", "take", "suppose", "imagine", "identify", "suggest", "happen", "make", "wear"),
}
"""Words that a question's first verb is looked for among."""


class Report:
    """Counts what is common to the samples, and draws those that are shown."""

    def __init__(self, config: SynthesisConfig) -> None:
        self.config = config
        self.openings: Counter[str] = Counter()
        self.verbs: Counter[str] = Counter()
        self.questions: dict[str, Counter[int]] = defaultdict(Counter)
        self.answers: dict[str, Counter[int]] = defaultdict(Counter)
        self.turns: dict[str, Counter[int]] = defaultdict(Counter)
        self.annotated: Counter[str] = Counter()
        self.named: Counter[str] = Counter()
        self.images: set[str] = set()
        self._words = object_words()
        self._rng = random.Random(f"{config.seed}/shown")  # noqa: S311
        self._shown: list[Made] = []
        self._kept = 0
        self._scene = ""

    def add(self, made: Made) -> None:
        """One job, a sample or not."""
        scene = made.job.scene
        if scene.id != self._scene:
            self._scene = scene.id
            self.annotated.update({self._object(each.category) for each in scene.instances})
        if made.row is None:
            return
        kind, turns = made.job.recipe.name, made.row["conversations"]
        self.images.add(scene.image or scene.id)
        self.turns[kind][len(turns) // 2] += 1
        named: set[str] = set()
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            words = WORD.findall(question["value"].replace("<image>", " ").lower())
            self.openings[" ".join(words[:2])] += 1
            verb = next((word for word in words if word in VERBS), None)
            self.verbs.update([verb] if verb else [])
            self.questions[kind][len(words) // 5 * 5] += 1
            self.answers[kind][len(answer["value"].split()) // STEP * STEP] += 1
            named |= set(objects_in(answer["value"], self._words))
        self.named.update(named & {self._object(each.category) for each in scene.instances})
        self._draw(made)

    def shown(self) -> list[Made]:
        """Samples drawn at random, in the dataset's order."""
        return self._shown

    def summary(self, tally: Tally, journal: Journal, plan: Plan) -> dict[str, Any]:
        """All of it as plain values; the same for the same journal."""
        spend = journal.spend()
        kept, rejected = sum(tally.kept.values()), sum(tally.rejected.values())
        return {
            "samples": kept,
            "rejected": rejected,
            "images": len(self.images),
            "scenes": len(plan.scenes),
            "asked": dict(plan.quotas),
            "kept_by_recipe": dict(sorted(tally.kept.items())),
            "rejected_by_recipe": _nested(tally.rejected),
            "rejected_by_reason": {
                reason: {"count": count, "means": REASONS.get(reason, "")}
                for reason, count in _by_reason(tally).most_common()
            },
            "flags": dict(sorted(tally.flags.items())),
            "fixed_in_annotation": dict(sorted(plan.scenes.fixed.items())),
            "spend": {
                "calls": spend.calls,
                "prompt_tokens": spend.prompt_tokens,
                "completion_tokens": spend.completion_tokens,
                "cost": round(spend.cost, 6),
                "unmetered_calls": spend.unmetered,
                "cost_per_sample": round(spend.cost / kept, 6) if kept else None,
            },
            "calls_by_ending": journal.endings(),
            "teachers": [
                {"asked": asked, "returned": returned, "replies": count}
                for (asked, returned), count in journal.models().items()
            ],
            "questions_open_with": dict(self.openings.most_common(TOP)),
            "first_verbs": dict(self.verbs.most_common(TOP)),
            "distinct_openings": len(self.openings),
            "turns": _histograms(self.turns),
            "question_words": _histograms(self.questions),
            "answer_words": _histograms(self.answers),
            "objects": {
                name: {"scenes": count, "samples": self.named[name]}
                for name, count in self.annotated.most_common()
            },
        }

    def _object(self, category: str) -> str:
        return self._words.get(category.lower()) or category.lower()

    def _draw(self, made: Made) -> None:
        """Keep each sample with the same chance, without knowing how many there will be."""
        self._kept += 1
        if len(self._shown) < SHOWN:
            self._shown.append(made)
        elif (place := self._rng.randrange(self._kept)) < SHOWN:
            self._shown.pop(place)
            self._shown.append(made)


def _by_reason(tally: Tally) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_, reason), count in tally.rejected.items():
        found[reason] += count
    return found


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (kind, reason), count in sorted(counts.items()):
        found.setdefault(kind, {})[reason] = count
    return found


def _histograms(found: dict[str, Counter[int]]) -> dict[str, dict[str, int]]:
    return {
        kind: {str(at): count for at, count in sorted(counts.items())}
        for kind, counts in sorted(found.items())
    }
