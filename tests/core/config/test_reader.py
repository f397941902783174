"""YAML is read as JSON means its scalars, within limits, with a line for every value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.core.config import parse, read
from isthmus.errors import ConfigError


def one(text: str) -> object:
    return parse(f"value: {text}").values["value"]


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-0",
        "7",
        "-12",
        "1e-5",
        "1E5",
        "2.5e+10",
        "-0.25",
        "1.5",
        "true",
        "false",
        "null",
        "123456789012345678901",
    ],
)
def test_json_scalars_mean_what_json_says(text: str) -> None:
    found, expected = one(text), json.loads(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "text",
    [
        "012",
        "12:30",
        "1:20:05",
        "yes",
        "no",
        "on",
        "off",
        "y",
        "True",
        "FALSE",
        "Null",
        "0x1f",
        "0o17",
        "1_000",
        "2024-01-01",
        ".inf",
        ".nan",
        "1e",
        "1.2.3",
        "+-1",
        "0b1",
        "190:20:30.15",
        "1,5",
        "=",
    ],
)
def test_what_yaml_1_1_guesses_at_is_a_string(text: str) -> None:
    assert one(text) == text


@pytest.mark.parametrize(("text", "value"), [(".5", 0.5), ("1.", 1.0), ("+3", 3), ("-.5e1", -5.0)])
def test_numbers_may_leave_out_a_zero(text: str, value: float) -> None:
    assert one(text) == value


def test_quotes_make_strings() -> None:
    assert one("'1e-5'") == "1e-5"
    assert one('"true"') == "true"
    assert one("!!str 12") == "12"
    assert one("''") == ""


def test_nothing_is_null() -> None:
    assert parse("a:\nb: ~").values == {"a": None, "b": None}


def test_every_value_knows_its_line() -> None:
    document = parse("a: 1\nb:\n  - c: 2\n    d:\n      e: 3\n  - [4,\n     5]\n")
    lines = {place: document.line(place) for place in document.lines}
    assert lines == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 3,
        ("b", 0, "c"): 3,
        ("b", 0, "d"): 4,
        ("b", 0, "d", "e"): 5,
        ("b", 1): 6,
        ("b", 1, 0): 6,
        ("b", 1, 1): 7,
    }
    assert document.line(("b", 0, "nowhere", 7)) == 3


def test_aliases_and_merges_share_settings() -> None:
    text = "a: &a {p: 1, q: {r: 2}}\nb:\n  q: 3\n  <<: *a\nc: *a\nd: {<<: [{p: 4}, *a]}\n"
    document = parse(text)
    assert document.values["b"] == {"p": 1, "q": 3}
    assert document.values["c"] == {"p": 1, "q": {"r": 2}}
    assert document.values["d"] == {"p": 4, "q": {"r": 2}}
    assert document.line(("b",)) == 2
    assert document.line(("b", "q")) == 3
    assert document.line(("b", "p")) == 1


def test_every_key_given_twice_is_named_with_both_lines() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("a: 1\nb: {c: 1, c: 2}\na: 3\n", "run.yaml")
    assert str(caught.value).splitlines() == [
        "run.yaml: 2 problems",
        "  line 2: b.c: given twice, first on line 2",
        "  line 3: a: given twice, first on line 1",
    ]


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "\n".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "counting each alias anew"),
        ("a: &a [*a]", "counting each alias anew"),
        ("a: &a {<<: *a}", "counting each alias anew"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [ls]", "python/object/apply"),
        ("a: !!python/name:os.system", "are not read"),
        ("a: !!bool yes", "are not read"),
        ("1: a", "a key is a string"),
        ("true: a", "a key is a string"),
        ("[a]: b", "a key is a string"),
        ("<<: 3", "`<<` takes a mapping"),
        ("a: [1", "line 1"),
        ("a: *b", "undefined alias 'b'"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: \x07", "not allowed"),
        ("- a", "a mapping (`key: value`) is needed; found a list"),
        ("", "found nothing"),
    ],
)
def test_what_is_no_configuration_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml.*\n.*No such file"):
        read(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read(tmp_path / "latin.yaml")
    (tmp_path / "large.yaml").write_text("#" * 1_000_001)
    with pytest.raises(ConfigError, match="larger than 1,000,000 bytes"):
        read(tmp_path / "large.yaml")
