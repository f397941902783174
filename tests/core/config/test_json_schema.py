"""The schema knows every installed part, and says of each file what loading says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from isthmus.core.config import load, schema
from isthmus.errors import ConfigError
from tests.core.config.toy_run import Run


@pytest.fixture
def whole() -> dict[str, Any]:
    return schema(Run)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from references(item)


def test_every_reference_leads_to_a_definition(whole: dict[str, Any]) -> None:
    found = set(references(whole))
    assert found
    assert found <= {f"#/$defs/{name}" for name in whole["$defs"]}
    assert "x-part" not in json.dumps(whole)


def test_kind_is_any_of_its_parts_or_a_bare_name(whole: dict[str, Any]) -> None:
    assert whole["$defs"]["encoder"]["anyOf"] == [
        {"type": "string", "enum": ["eye"]},
        {"$ref": "#/$defs/encoder.eye"},
        {"$ref": "#/$defs/encoder.tiles"},
    ]
    assert whole["$defs"]["template"]["anyOf"] == [{"not": {}}]


def test_part_carries_its_docs_and_its_own_definitions(whole: dict[str, Any]) -> None:
    shelf = whole["$defs"]["source.shelf"]
    assert shelf["description"] == "A source of files."
    assert shelf["required"] == ["type", "file"]
    assert shelf["properties"]["type"] == {"const": "shelf"}
    assert shelf["properties"]["file"]["description"] == "Records."
    assert shelf["additionalProperties"] is False
    assert shelf["properties"]["crops"]["items"] == {"$ref": "#/$defs/source.shelf.Crop"}
    tiles = whole["$defs"]["encoder.tiles"]
    assert tiles["properties"]["inner"]["$ref"] == "#/$defs/encoder"


RUNS: list[tuple[bool, dict[str, Any]]] = [
    (True, {"stages": [{"name": "a"}]}),
    (True, {"model": {"connector": "bridge"}, "stages": [{"name": "a", "train": {}}]}),
    (True, {"model": {"encoder": {"type": "tiles", "inner": "eye"}}, "stages": [{"name": "a"}]}),
    (True, {"model": {"encoder": {"type": "eye", "size": 3}}, "stages": [{"name": "a"}]}),
    (True, {"stages": [{"name": "a", "data": [{"type": "shelf", "file": "x"}]}]}),
    (False, {"stages": []}),
    (False, {"stages": [{}]}),
    (False, {"stages": [{"name": "a", "lr": -1}]}),
    (False, {"stages": [{"name": "a"}], "blind": "yes"}),
    (False, {"stages": [{"name": "a", "data": ["shelf"]}]}),
    (False, {"model": {"connector": "plnk"}, "stages": [{"name": "a"}]}),
    (False, {"model": {"encoder": {"type": "tiles"}}, "stages": [{"name": "a"}]}),
    (False, {"model": {"encoder": {"type": "eye", "depth": 3}}, "stages": [{"name": "a"}]}),
    (False, {"model": {"encoder": {"layer": 3}}, "stages": [{"name": "a"}]}),
    (False, {"model": {"llm": "x"}, "stages": [{"name": "a"}]}),
]


@pytest.mark.parametrize(("valid", "values"), RUNS)
def test_schema_and_loading_agree(valid: bool, values: dict[str, Any]) -> None:
    if valid:
        load(Run, values)
    else:
        with pytest.raises(ConfigError):
            load(Run, values)
    Draft202012Validator.check_schema(schema(Run))
    assert Draft202012Validator(schema(Run)).is_valid(values) == valid
