"""Rule files: what a judge is told to look at, instead of a benchmark's own words.

    {"default": {"role": "Assistant", "prompt": "Rate both answers ..."}, "conv": {...}}

That is the form of FastChat's and LLaVA's `rule.json`. A rule is for questions of one category.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isthmus.core.data.rows import read_object
from isthmus.errors import DataError

DEFAULT = "default"
ROLE = "Assistant"


@dataclass(frozen=True)
class Rule:
    """What a judge is asked for, and what it calls those whose answers he sees."""

    prompt: str
    role: str = ROLE


def read_rules(file: Path) -> dict[str, Rule]:
    """Category -> its rule. Raises DataError."""
    rules = {}
    for name, row in read_object(file).items():
        prompt = row.get("prompt") if isinstance(row, dict) else None
        role = row.get("role", ROLE) if isinstance(row, dict) else None
        if not isinstance(prompt, str) or not prompt.strip() or not isinstance(role, str):
            raise DataError(
                f'{file}, {name}: a rule is {{"prompt": ...}}, perhaps with "role"; found '
                f"{row!r:.60}"
            )
        rules[name] = Rule(prompt.strip(), role)
    return rules


def rule_for(rules: dict[str, Rule], names: tuple[str, ...], origin: str) -> Rule:
    """The rule of the first of these names that has one, else the default. Raises DataError."""
    for name in (*names, DEFAULT):
        if name in rules:
            return rules[name]
    wanted = ", ".join((*names, DEFAULT))
    raise DataError(f"{origin}: it has none of the rules {wanted}; found {', '.join(rules)}")
