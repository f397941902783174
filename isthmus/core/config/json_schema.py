"""JSON Schema of a whole YAML file, with every installed part in it, for editors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from isthmus.core.contracts import Config
from isthmus.registry import PART_HOOKS, Entry, get_registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(cls: type[Config]) -> dict[str, Any]:
    """Schema of `cls`: `$defs` holds one definition for each part and one for each kind."""
    whole = cls.model_json_schema()
    definitions: dict[str, Any] = whole.pop("$defs", {})
    for kind in PART_HOOKS:
        entries = [entry for entry in get_registry().entries() if entry.kind == kind]
        for entry in entries:
            definitions.update(_part(entry))
        definitions[kind] = _kind(kind, [definitions[_name(entry)] for entry in entries], entries)
    whole = {"$schema": DIALECT, **whole, "$defs": dict(sorted(definitions.items()))}
    result: dict[str, Any] = _each(whole, _link)
    return result


def _kind(kind: str, parts: list[dict[str, Any]], entries: list[Entry]) -> dict[str, Any]:
    """Any part of this kind: a mapping, or its bare name when nothing else is required."""
    bare = [
        entry.name
        for entry, part in zip(entries, parts, strict=True)
        if part["required"] == ["type"]
    ]
    options: list[dict[str, Any]] = [{"$ref": f"#/$defs/{_name(entry)}"} for entry in entries]
    if bare:
        options.insert(0, {"type": "string", "enum": sorted(set(bare))})
    return {"description": f"Any installed {kind}.", "anyOf": options or [{"not": {}}]}


def _part(entry: Entry) -> dict[str, Any]:
    """The definition of a part, and those that it refers to, under names of its own."""
    name = _name(entry)
    own = entry.part.Config.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    inner = {f"{name}.{key}": value for key, value in own.pop("$defs", {}).items()}
    if "$ref" in own:
        # A config that holds itself is written as a reference to its own definition.
        own = dict(inner[own["$ref"].rpartition("/")[2]])
    own["title"] = entry.name
    own["description"] = inspect.getdoc(entry.part) or f"The {entry.kind} {entry.name}."
    own["properties"] = {"type": {"const": entry.name}, **own.get("properties", {})}
    own["required"] = ["type", *own.get("required", [])]
    return {**inner, name: own}


def _name(entry: Entry) -> str:
    return f"{entry.kind}.{entry.name}"


def _link(node: dict[str, Any]) -> dict[str, Any]:
    """Where a part may stand, the definition of its kind."""
    if "x-part" not in node:
        return node
    others = {key: value for key, value in node.items() if key != "x-part"}
    return {**others, "$ref": f"#/$defs/{node['x-part']}"}


def _each(node: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    if isinstance(node, dict):
        return change({key: _each(value, change) for key, value in node.items()})
    if isinstance(node, list):
        return [_each(item, change) for item in node]
    return node
