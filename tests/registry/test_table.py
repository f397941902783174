"""The table of parts: exact names, and errors that say what is possible."""

from __future__ import annotations

import pytest

from isthmus.errors import PartError
from isthmus.registry.table import NAME, Entry, Table


def entry(kind: str, name: str, distribution: str = "isthmus-foo") -> Entry:
    return Entry(kind, name, object, distribution, "1.0", "foo.parts")


def test_names_are_exact() -> None:
    table = Table()
    table.add(entry("connector", "mlp"))
    for wrong in ("MLP", "ml", "mlp ", "my_mlp", ""):
        with pytest.raises(PartError, match="no connector is called"):
            table.find("connector", wrong)
    with pytest.raises(PartError, match="no encoder is called 'mlp'"):
        table.find("encoder", "mlp")


def test_unknown_kind_is_told_the_known_ones() -> None:
    with pytest.raises(PartError, match=r"Kinds: encoder, .*Did you mean 'connector'"):
        Table().find("conector", "mlp")


@pytest.mark.parametrize("name", [5, None, ["mlp"], {"type": "mlp"}])
def test_name_that_is_no_string_is_unknown(name: object) -> None:
    with pytest.raises(PartError, match="no connector is called"):
        Table().find("connector", name)  # type: ignore[arg-type]


def test_entries_are_in_the_order_of_hooks_then_names() -> None:
    table = Table()
    for kind, name in (("tuner", "full"), ("connector", "mlp"), ("connector", "linear")):
        table.add(entry(kind, name))
    assert [found.name for found in table.entries()] == ["linear", "mlp", "full"]


@pytest.mark.parametrize("name", ["a", "mlp", "vicuna_v1", "q_former2"])
def test_lower_snake_names_are_valid(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "Mlp", "_mlp", "mlp_", "a__b", "1a", "a-b", "a.b", "a b"])
def test_other_names_are_not(name: str) -> None:
    assert not NAME.fullmatch(name)
