"""What is dumped loads as what it was, whatever its strings look like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from isthmus.core.config import dump, load, parse, to_yaml
from tests.core.config.toy_parts import Bridge, Crop, Eye, Shelf, Tiles, Whole
from tests.core.config.toy_run import Model, Run, Schedule, Step

RUN = Run(
    model=Model(
        encoder=Tiles.Config(inner=Eye.Config(layer=3, size=14)), connector=Bridge.Config()
    ),
    stages=(
        Step(
            name="1e-5",
            train={"connector": Whole.Config(lr=1e-5)},
            data=(
                Shelf.Config(
                    file=Path("a.json"), crops=(Crop(width=3),), tags={"yes": "no", "012": "1e5"}
                ),
            ),
            lr=3e-7,
            schedule=Schedule(type="constant"),
        ),
        Step(name="two\nlines: x", steps=3),
    ),
)


def test_dumped_run_loads_as_itself_from_another_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "config.yaml"
    path.write_text(dump(RUN))
    assert load(Run, path) == RUN


def test_dumped_run_names_its_parts_first_and_every_default() -> None:
    values = parse(dump(RUN)).values
    assert list(values["model"]["connector"].items()) == [("type", "bridge"), ("depth", 2)]
    assert values["blind"] is False
    assert values["stages"][0]["data"][0]["file"] == str(Path("a.json").absolute())


def test_dumped_part_names_its_type() -> None:
    assert parse(dump(Eye.Config())).values == {
        "type": "eye",
        "layer": -2,
        "size": "auto",
        "model": None,
    }


def test_relative_paths_of_a_file_stay_the_same_files_when_dumped(
    yaml_file: Callable[[str], Path], tmp_path: Path
) -> None:
    run = load(Run, yaml_file("stages: [{name: a, data: [{type: shelf, file: ../x.json}]}]"))
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "config.yaml"
    path.write_text(dump(run))
    assert load(Run, path) == run


text = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
keys = st.text("abc01-.:", min_size=1)
plain = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plain)
@example("1e-5")
@example("<<")
@example("=")
@example("12:30")
@example("~")
@example("\x85")
@example("a\u2028\r\ufeff")
def test_plain_values_survive(value: object) -> None:
    assert parse(to_yaml({"value": value})).values == {"value": value}


@pytest.mark.parametrize("text", ["012", "1e-5", "yes", "12:30", "null", "0x1f", "2024-01-01", ""])
def test_strings_stay_strings_for_readers_of_yaml_1_1_too(text: str) -> None:
    assert yaml.safe_load(to_yaml([text])) == [text]
