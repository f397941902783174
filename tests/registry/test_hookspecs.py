"""The page of hooks agrees with the contracts and shows an example of each hook."""

from __future__ import annotations

import ast
import inspect
import textwrap

import pytest

from isthmus.core import contracts
from isthmus.registry import EVENT_HOOKS, PART_HOOKS, hookspecs


def test_every_kind_of_part_has_a_hook() -> None:
    kinds = {getattr(getattr(contracts, name), "kind", "") for name in contracts.__all__}
    assert set(PART_HOOKS) == kinds - {""}


def test_every_event_has_a_hook_but_the_one_that_asks() -> None:
    """Plugins hear of a run; who evaluates it is for the verb to say that started it."""
    events = {name for name in vars(contracts.Events) if not name.startswith("_")}
    assert set(EVENT_HOOKS) == events - {"evaluate_due", "evaluates"}


@pytest.mark.parametrize("name", [*PART_HOOKS.values(), *EVENT_HOOKS])
def test_hook_has_a_two_line_example_with_its_own_arguments(name: str) -> None:
    hook = getattr(hookspecs, name)
    _, _, example = inspect.getdoc(hook).partition("\n\n")  # type: ignore[union-attr]
    (function,) = ast.parse(textwrap.dedent(example)).body
    assert isinstance(function, ast.FunctionDef)
    assert function.name == name
    assert [a.arg for a in function.args.args] == list(inspect.signature(hook).parameters)
    assert len(example.strip().splitlines()) == 2
