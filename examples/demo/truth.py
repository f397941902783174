"""Captions held against what is in the pictures: which right and which wrong ones were kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from digits import PLACES, Scene

RIGHT, KEPT = 1, 2
"""Where that stands in what captions are counted by."""


def facts(scene: Scene) -> list[str]:
    """What is in a scene: one entry a digit, in an order of their own."""
    return sorted(_fact((PLACES[t.place], str(t.digit), t.colour)) for t in scene.things)


def said_in(caption: str) -> list[str]:
    """What a caption says, in the same form."""
    return sorted(_fact(words.split()) for words in caption.split(", "))


def _fact(words: Iterable[str]) -> str:
    return " ".join(sorted(words))


def words_right(caption: str, facts: list[str]) -> float:
    """Share of a caption's words that are in what is in the picture, wherever they stand."""
    said, there = (Counter(" ".join(each).split()) for each in (said_in(caption), facts))
    return (said & there).total() / max(1, said.total())


def nearly(caption: str, facts: list[str]) -> bool:
    """Whether all but one of the things in the picture are said rightly, and that one wrongly."""
    said, there = Counter(said_in(caption)), Counter(facts)
    return (said - there).total() == (there - said).total() == 1


def kept(folder: Path) -> dict[str, float]:
    """What CapFilt kept, by what is in the pictures."""
    truth = json.loads((folder / "data" / "truth.json").read_text())
    counts: Counter[tuple[str, bool, bool]] = Counter()
    shares: list[float] = []
    near: list[bool] = []
    for file, passed in (("samples.jsonl", True), ("rejected.jsonl", False)):
        for line in (folder / "filtered" / file).read_text().splitlines():
            row = json.loads(line)
            text = row["conversations"][1]["value"] if passed else row["text"]
            right = said_in(text) == truth[row["image"]]
            if row["kind"] == "synthetic":
                shares.append(words_right(text, truth[row["image"]]))
                if passed and not right:
                    near.append(nearly(text, truth[row["image"]]))
            # A written caption in the words that were there is right or wrong with these.
            kind = row["kind"] if row.get("reason") != "duplicate" else "duplicate"
            counts[kind, right, passed] += 1

    def share(wanted: int, **given: Any) -> float:
        """Of the captions that are as given, the share that is right, or kept."""
        names = ("kind", "right", "kept")
        among = {
            key: count
            for key, count in counts.items()
            if given.items() <= dict(zip(names, key, strict=True)).items()
        }
        return sum(n for key, n in among.items() if key[wanted]) / max(1, sum(among.values()))

    return {
        "right_kept": share(KEPT, kind="web", right=True),
        "wrong_rejected": 1 - share(KEPT, kind="web", right=False),
        "written_words_right": sum(shares) / max(1, len(shares)),
        "written_right": share(RIGHT, kind="synthetic"),
        "written_right_among_kept": share(RIGHT, kind="synthetic", kept=True),
        "wrong_by_one": sum(near) / max(1, len(near)),
        "kept": sum(n for (_, _, passed), n in counts.items() if passed),
    }
