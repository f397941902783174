"""--set: changing a document before it is typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.config import load, override, parse
from isthmus.errors import ConfigError
from tests.core.config.toy_parts import Bridge, Eye, Plank, Tiles
from tests.core.config.toy_run import Run

BASE = """
model:
  encoder: {type: eye, layer: 3, model: some/hub-id}
  connector: {type: bridge, depth: 4}
stages:
  - {name: one, lr: 0.1, schedule: {type: cosine, warmup: 0.5}}
  - {name: two}
"""


def changed(*overrides: str, text: str = BASE) -> dict[str, Any]:
    return override(parse(text), overrides, Run).values


def test_value_is_yaml() -> None:
    values = changed("stages.0.lr=1e-3", "blind=true", "out=a=b", "stages.1.betas=[0.5, 0.6]")
    assert values["stages"][0]["lr"] == 1e-3
    assert values["stages"][1]["betas"] == [0.5, 0.6]
    assert values["blind"] is True
    assert values["out"] == "a=b"
    assert changed("out=")["out"] is None


def test_brackets_and_dots_name_the_same_place() -> None:
    assert changed("stages[1].lr=2") == changed("stages.1.lr=2")


def test_document_given_is_left_as_it_was() -> None:
    document = parse(BASE)
    override(document, ["stages.0.lr=5", "model.connector.type=plank"], Run)
    assert document.values == parse(BASE).values


def test_sections_that_are_not_there_are_made() -> None:
    assert changed("stages.1.schedule.type=constant")["stages"][1] == {
        "name": "two",
        "schedule": {"type": "constant"},
    }


def test_new_type_drops_fields_that_the_new_part_lacks_and_keeps_those_it_has() -> None:
    values = changed("model.connector.type=plank")
    assert values["model"]["connector"] == {"type": "plank"}
    values = changed("model.encoder.type=tiles", "model.encoder.inner=eye")
    assert values["model"]["encoder"] == {"type": "tiles", "layer": 3, "inner": "eye"}


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_new_type_keeps_what_set_gives_whatever_the_order(order: slice) -> None:
    given = ["model.encoder.type=tiles", "model.encoder.inner.type=eye", "model.encoder.layer=7"]
    values = changed(*given[order])
    assert values["model"]["encoder"] == {"type": "tiles", "layer": 7, "inner": {"type": "eye"}}


def test_field_that_the_new_part_lacks_is_still_refused_when_set_gives_it(
    yaml_file: Callable[[str], Path],
) -> None:
    with pytest.raises(ConfigError, match=r"depth: no such field. There are no fields of plank"):
        load(Run, yaml_file(BASE), ["model.connector.depth=3", "model.connector.type=plank"])


def test_type_of_a_section_that_is_no_part_drops_nothing() -> None:
    values = changed("stages.0.schedule.type=constant")
    assert values["stages"][0]["schedule"] == {"type": "constant", "warmup": 0.5}


def test_unknown_type_drops_nothing_and_is_reported(yaml_file: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Run, yaml_file(BASE), ["model.connector.type=plnk"])
    (problem,) = caught.value.problems
    assert str(problem) == (
        "model.connector.type: no connector is called 'plnk'. Known: bridge, plank. "
        "Did you mean 'plank'?"
    )


def test_whole_part_is_replaced_by_a_name_or_a_mapping() -> None:
    assert changed("model.connector=plank")["model"]["connector"] == "plank"
    values = changed("model.connector={type: bridge, depth: 9}")
    assert values["model"]["connector"] == {"type": "bridge", "depth": 9}


def test_field_of_a_part_given_by_its_bare_name_can_be_set(
    yaml_file: Callable[[str], Path],
) -> None:
    path = yaml_file("model: {connector: bridge}\nstages: [{name: a}]")
    assert load(Run, path, ["model.connector.depth=7"]).model.connector == Bridge.Config(depth=7)
    assert load(Run, path, ["model.connector.type=plank"]).model.connector == Plank.Config()
    assert load(Run, path).model.connector == Bridge.Config()


def test_nested_parts_can_be_swapped(yaml_file: Callable[[str], Path]) -> None:
    path = yaml_file("model: {encoder: {type: tiles, inner: eye}}\nstages: [{name: a}]")
    run = load(Run, path, ["model.encoder.inner={type: tiles, inner: eye}"])
    assert run.model.encoder == Tiles.Config(inner=Tiles.Config(inner=Eye.Config()))


def test_problem_of_an_override_has_no_line_of_the_file(yaml_file: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Run, yaml_file(BASE + "blind: maybe"), ["stages.0.lr=fast", "stages.0.lt=1"])
    lines = {problem.where: problem.line for problem in caught.value.problems}
    assert lines == {"stages[0].lr": None, "stages[0].lt": None, "blind": 8}


def test_every_override_that_leads_nowhere_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        changed("nothing", "=3", "stages.2.lr=1", "stages.two.lr=1", "stages.0.lr.x=1", "out=[")
    assert [
        (problem.where, problem.message.split(";")[0]) for problem in caught.value.problems
    ] == [
        ("--set nothing", "write it as PLACE=VALUE, for example `stages.0.optimizer.lr=1e-3`"),
        ("--set =3", "write it as PLACE=VALUE, for example `stages.0.optimizer.lr=1e-3`"),
        ("--set stages.2.lr=1", "stages is a list"),
        ("--set stages.two.lr=1", "stages is a list"),
        ("--set stages.0.lr.x=1", "there is no mapping that 'x' could be a key of"),
        (
            "--set out=[",
            "'[' is no YAML value: while parsing a flow node expected the node content, but found "
            "'<stream end>'",
        ),
    ]
