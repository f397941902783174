"""The public API: sorted, whole, and light until it is used."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import isthmus
from isthmus import errors
from isthmus.core import contracts


def test_all_is_sorted_as_the_linter_sorts() -> None:
    def order(name: str) -> tuple[int, str]:
        constant, klass = name.isupper(), name[:1].isupper()
        return (0 if constant else 1 if klass else 2), name

    assert list(isthmus.__all__) == sorted(isthmus.__all__, key=order)
    assert len(set(isthmus.__all__)) == len(isthmus.__all__)


@pytest.mark.parametrize("name", isthmus.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(isthmus, name) is not None
    assert name in dir(isthmus)


def test_contracts_are_public_under_their_own_names() -> None:
    kinds = {
        name
        for name in contracts.__all__
        if isinstance(getattr(contracts, name), type)
        and issubclass(getattr(contracts, name), contracts.Part)
    }
    assert kinds <= set(isthmus.__all__)
    for name in set(isthmus.__all__) & set(contracts.__all__):
        assert getattr(isthmus, name) is getattr(contracts, name)


def test_errors_that_a_caller_may_catch_are_public() -> None:
    for name in (
        "IsthmusError",
        "InputError",
        "ConfigError",
        "PartError",
        "DataError",
        "WorkError",
    ):
        assert getattr(isthmus, name) is getattr(errors, name)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'conect'"):
        isthmus.conect  # type: ignore[attr-defined]


def test_version_is_that_of_the_project() -> None:
    path = Path(__file__).resolve().parents[1] / "pyproject.toml"
    assert isthmus.__version__ == tomllib.loads(path.read_text())["project"]["version"]


@pytest.mark.parametrize(
    "statement",
    ["import isthmus", "from isthmus import hookimpl, __version__", "import isthmus.registry"],
)
def test_import_is_light(statement: str) -> None:
    code = f"{statement}; import sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"torch", "numpy", "pydantic", "transformers", "yaml", "typer", "isthmus.core"}
    assert heavy & set(loaded) == set()


def test_contracts_are_imported_when_they_are_asked_for() -> None:
    code = (
        "import sys; from isthmus.core.contracts import Benchmark, Question, Config\n"
        "print(*({'torch', 'numpy', 'PIL'} & set(sys.modules)))\n"
        "from isthmus.core import contracts\n"
        "print(*(set(contracts.__all__) ^ set(contracts._HOME)), set(contracts.__all__) <= "
        "set(dir(contracts)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert shown.splitlines() == ["", "True"]
    with pytest.raises(AttributeError, match="no attribute 'Conector'"):
        contracts.Conector  # type: ignore[attr-defined]
