"""Count right answers: exact match, over all questions and by type, beside two controls.

The blind model went through the same stages with grey pictures; the majority baseline gives,
for each type of question, the answer that is most frequent among the right ones.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any


def rows(file: Path) -> list[dict[str, Any]]:
    """A JSONL file's rows."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def score(folder: Path) -> dict[str, Any]:
    """`accuracy`, `blind_accuracy`, `majority_accuracy`, each also by type; shares of 1."""
    right = {row["question_id"]: row for row in rows(folder / "data" / "answers.jsonl")}
    results: dict[str, Any] = {"questions": len(right)}
    for prefix, name in (("", "sighted"), ("blind_", "blind")):
        given = {r["question_id"]: r["text"] for r in rows(folder / f"answers-{name}.jsonl")}
        hits = {key: given[key].strip() == row["answer"] for key, row in right.items()}
        results[f"{prefix}accuracy"] = share(list(hits.values()))
        results[f"{prefix}accuracy_by_type"] = by_type(right, hits)
    frequent = most_frequent(right)
    hits = {key: row["answer"] == frequent[row["type"]] for key, row in right.items()}
    results["majority_accuracy"] = share(list(hits.values()))
    results["majority_accuracy_by_type"] = by_type(right, hits)
    results["questions_by_type"] = dict(Counter(row["type"] for row in right.values()))
    return results


def share(hits: list[bool]) -> float:
    return round(sum(hits) / len(hits), 4)


def by_type(right: dict[str, Any], hits: dict[str, bool]) -> dict[str, float]:
    groups = defaultdict(list)
    for key, row in right.items():
        groups[row["type"]].append(hits[key])
    return {kind: share(values) for kind, values in groups.items()}


def most_frequent(right: dict[str, Any]) -> dict[str, str]:
    """Per type, the answer that is right most often."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in right.values():
        counts[row["type"]][row["answer"]] += 1
    return {kind: counter.most_common(1)[0][0] for kind, counter in counts.items()}
