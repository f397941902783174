"""The dataset: what passed, as LLaVA has it, and what did not, with why; and the counts of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus.core.contracts import ImageSlot
from isthmus.core.data.question_file import IMAGE
from isthmus.core.scene import suspicions
from isthmus.synthesize.capfilt.pairs import Pair
from isthmus.synthesize.capfilt.work import Found

WEB, SYNTHETIC = KINDS = ("web", "synthetic")
"""A text that came with its picture, and a caption that was written."""
BINS = 10
"""Of the scores' histogram."""
Row = dict[str, Any]


class Dataset:
    """Makes rows of what was found: a sample of each text that passes. `identity` says who wrote
    and who filtered."""

    def __init__(self, identity: Mapping[str, Any], threshold: float) -> None:
        self.identity, self.threshold = identity, threshold

    def rows(self, pair: Pair, found: Found) -> Iterator[tuple[bool, Row]]:
        """Whether it is kept, and the row, of both texts: first the one that was there. Of a pair
        that could not be looked at there is no other."""
        if found.reason:
            yield False, self._rejected(pair, WEB, pair.text, None, found.reason, found.message)
            return
        for kind, text, score in (
            (WEB, pair.text, found.web),
            (SYNTHETIC, found.caption, found.synthetic),
        ):
            reason, message = self._objection(kind, pair, found, score)
            if reason:
                yield False, self._rejected(pair, kind, text, score, reason, message)
            else:
                yield True, self._sample(pair, kind, text, score)

    def _objection(
        self, kind: str, pair: Pair, found: Found, score: float | None
    ) -> tuple[str, str]:
        """Why a text is not kept; or nothing."""
        if score is None:
            return "empty", "no words"
        if kind == SYNTHETIC and not found.whole:
            return "truncated", "cut off at the captioner's `max_new_tokens`"
        if kind == SYNTHETIC and _words(found.caption) == _words(pair.text):
            return "duplicate", "the words that the picture came with"
        if score < self.threshold:
            return "mismatch", f"{score} is less than {self.threshold}"
        return "", ""

    def _sample(self, pair: Pair, kind: str, text: str, score: float | None) -> Row:
        return {
            "id": f"{pair.id}/{kind}",
            "image": pair.image,
            "conversations": [
                {"from": "human", "value": _request(pair)},
                {"from": "gpt", "value": text},
            ],
            "kind": kind,
            "provenance": self._provenance(pair, kind, text, score),
        }

    def _rejected(
        self, pair: Pair, kind: str, text: str, score: float | None, reason: str, message: str
    ) -> Row:
        return {
            "id": f"{pair.id}/{kind}",
            "image": pair.image,
            "kind": kind,
            "reason": reason,
            "message": message,
            "text": text,
            "score": score,
        }

    def _provenance(self, pair: Pair, kind: str, text: str, score: float | None) -> Row:
        made: Row = {"sample": pair.id}
        if kind == SYNTHETIC:
            captioner = self.identity["captioner"]
            drawn = captioner["sampling"]["temperature"] > 0
            made |= {"captioner": captioner} | ({"seed": pair.seed} if drawn else {})
        made |= {"filter": self.identity["filter"], "score": score, "threshold": self.threshold}
        odd = suspicions(text)
        return made | ({"flags": [f"caption:{sign}" for sign in odd]} if odd else {})


@dataclass
class Tally:
    """What was counted while rows were made."""

    samples: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    with_texts: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    bins: dict[str, list[int]] = field(default_factory=lambda: {kind: [0] * BINS for kind in KINDS})
    sums: Counter[str] = field(default_factory=Counter)

    def count(self, rows: list[tuple[bool, Row]]) -> None:
        """One more sample, with its rows."""
        self.samples += 1
        kept = [row["kind"] for keep, row in rows if keep]
        self.kept.update(kept)
        self.with_texts["both" if len(kept) == 2 else kept[0] if kept else "none"] += 1
        for keep, row in rows:
            if not keep:
                self.rejected[row["kind"], row["reason"]] += 1
            score = row["provenance"]["score"] if keep else row["score"]
            if score is not None:
                self.bins[row["kind"]][min(int(score * BINS), BINS - 1)] += 1
                self.sums[row["kind"]] += score
            self.flags.update(row["provenance"].get("flags", ()) if keep else ())

    def summary(self) -> dict[str, Any]:
        """As report.json has it."""
        scored = {kind: sum(self.bins[kind]) for kind in KINDS}
        return {
            "samples": self.samples,
            "kept": {kind: self.kept[kind] for kind in KINDS},
            "rejected": {
                kind: {r: n for (k, r), n in sorted(self.rejected.items()) if k == kind}
                for kind in KINDS
            },
            "samples_with": {name: self.with_texts[name] for name in ("both", *KINDS, "none")},
            "flags": dict(sorted(self.flags.items())),
            "scores": {
                kind: {
                    "mean": round(self.sums[kind] / scored[kind], 4) if scored[kind] else None,
                    "histogram": self.bins[kind],
                }
                for kind in KINDS
            },
        }


def _request(pair: Pair) -> str:
    """As LLaVA writes it."""
    pieces = pair.asked.content
    return "".join(IMAGE if isinstance(piece, ImageSlot) else piece for piece in pieces)


def _words(text: str) -> list[str]:
    return text.casefold().split()
