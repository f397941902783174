"""`--set stages.0.optimizer.lr=1e-3`: changing a document from the command line.

The value is YAML. Lists go by position; `stages[0]` is the same as `stages.0`. Where a part's
`type` is replaced (`model.connector.type=linear`), fields that the new part does not have are
dropped, unless --set gave them too; those that it has are kept. To start a part afresh, set
the whole of it: `model.connector=linear`, or `model.connector={type: mlp, depth: 3}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from isthmus.core.config.document import Document
from isthmus.core.config.fields import at, configs_at, kind_at
from isthmus.core.config.reader import Reader, dotted
from isthmus.core.contracts import Config, Place
from isthmus.errors import ConfigError, Problem


class _Wrong(Exception):
    """One override cannot be applied; the message says why."""


def override(document: Document, overrides: Sequence[str], cls: type[Config]) -> Document:
    """The document with every override applied, in order.

    Raises ConfigError naming each override that is malformed or leads nowhere.
    """
    values: Any = document.values
    lines = dict(document.lines)
    problems: list[Problem] = []
    given: list[Place] = []
    for text in overrides:
        try:
            place, value = _parse(text)
            place = _positions(values, place)
            changed = _put(values, place, value)
        except _Wrong as wrong:
            problems.append(Problem(f"--set {text}", str(wrong)))
            continue
        given.append(place)
        values = _fit(changed, place, given, cls)
        for known in [known for known in lines if known[: len(place)] == place]:
            del lines[known]
        lines[place] = None
    if problems:
        raise ConfigError(problems, document.source)
    return replace(document, values=values, lines=lines)


def _parse(text: str) -> tuple[Place, Any]:
    where, equals, written = text.partition("=")
    place = tuple(word for word in re.split(r"[.\[\]]+", where.strip()) if word)
    if not equals or not place:
        raise _Wrong("write it as PLACE=VALUE, for example `stages.0.optimizer.lr=1e-3`")
    reader = Reader()
    value = reader.read(written)
    if reader.problems:
        raise _Wrong(f"{written!r} is no YAML value: {reader.problems[0].message}")
    return place, value


def _positions(values: Any, place: Place) -> Place:
    """The place with numbers where lists are."""
    found: list[str | int] = []
    for key in place:
        if isinstance(values, Sequence) and not isinstance(values, str):
            where = dotted(tuple(found))
            if not str(key).isdecimal() or int(key) >= len(values):
                last = f"0 to {len(values) - 1}" if values else "none, the list is empty"
                raise _Wrong(f"{where} is a list; write a position ({last}) instead of {key!r}")
            found.append(int(key))
            values = values[int(key)]
        else:
            found.append(key)
            values = values.get(key) if isinstance(values, Mapping) else None
    return tuple(found)


def _put(values: Any, place: Place, new: Any) -> Any:
    """A copy of `values` in which `new` stands at the place."""
    if not place:
        return new
    key, rest = place[0], place[1:]
    if isinstance(key, int):
        items = list(values)
        items[key] = _put(items[key], rest, new)
        return items
    if isinstance(values, str):
        values = {"type": values}  # a part by its bare name
    if values is not None and not isinstance(values, Mapping):
        raise _Wrong(f"there is no mapping that {key!r} could be a key of; found {values!r}")
    fields = dict(values or {})
    fields[str(key)] = _put(fields.get(str(key)), rest, new)
    return fields


def _fit(values: Any, place: Place, given: Sequence[Place], cls: type[Config]) -> Any:
    """Drop what a newly named part has no field for, where `place` is a part's `type`."""
    part = place[:-1]
    if place[-1] != "type" or kind_at(cls, values, part) is None:
        return values
    configs = configs_at(cls, values, part)
    if not configs:
        return values  # nobody knows that type; validation will say so
    known = {name for config in configs for name in config.model_fields}
    kept = dict(at(values, part))
    for name in [name for name in kept if name != "type" and name not in known]:
        if not any(place[: len(part) + 1] == (*part, name) for place in given):
            del kept[name]
    return _put(values, part, kept)
