"""Lists in a JSON object come item by item, as a parser of the whole file has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus.core.data import pieces
from isthmus.core.data.pieces import listed
from isthmus.errors import DataError

NAMES = ("images", "annotations")
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=9,
)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that every value is cut somewhere."""
    monkeypatch.setattr(pieces, "PIECE", 3)


@given(
    others=st.dictionaries(st.text(max_size=3), VALUES, max_size=3),
    lists=st.tuples(*(st.lists(VALUES, max_size=5) for _ in NAMES)),
    indent=st.sampled_from([None, 1]),
    ascii=st.booleans(),
    first=st.booleans(),
)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_items_are_those_of_a_parser_of_the_whole(
    tmp_path: Path, others: Any, lists: Any, indent: int | None, ascii: bool, first: bool
) -> None:
    wanted = dict(zip(NAMES, lists, strict=True))
    whole = {**wanted, **others} if first else {**others, **wanted}
    file = tmp_path / "x.json"
    text = json.dumps(whole | wanted, indent=indent, ensure_ascii=ascii)
    file.write_bytes(text.encode("utf-8", "surrogatepass") if ascii else text.encode())
    found: dict[str, list[Any]] = {name: [] for name in NAMES}
    for name, item in listed(file, NAMES):
        found[name].append(item)
    assert found == wanted


def test_nothing_is_read_behind_the_last_list(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"a": 1, "images": [1, 2], "annotations": [broken')
    assert [item for _, item in listed(file, ["images"])] == [1, 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "one JSON object"),
        ("[1]", "one JSON object"),
        ('{"images": 3}', "'images' is a list; found 3"),
        ('{"other": []}', "no 'images' in it"),
        ("{}", "no 'images' in it"),
        ('{"images": [1, 2', r"\] expected at character 17"),
        ('{"images": [1 2]}', r"\] expected at character 15"),
        ('{"images": [{"a": }]}', "Expecting value at character 19"),
        ('{"images" [1]}', ": expected at character 11"),
        ('{"other": {"a"', "not JSON"),
        ('{"images": [' + "[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(DataError, match=said):
        list(listed(file, ["images"]))


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(listed(tmp_path / "gone.json", ["images"]))
    (tmp_path / "x.json").write_bytes(b'{"images": ["\xff"]}')
    with pytest.raises(DataError, match="not UTF-8"):
        list(listed(tmp_path / "x.json", ["images"]))
