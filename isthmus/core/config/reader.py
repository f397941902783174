"""YAML text -> values and lines.

YAML 1.1 guesses too much for settings, so scalars follow JSON: only `true` and `false` are
booleans, `1e-5` is a number, and `012`, `12:30`, `yes` and dates are strings. A key is a string
and stands once. Nesting and aliases are limited, and no tag makes an object.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from isthmus.core.contracts import Place
from isthmus.errors import Problem

MAX_DEPTH = 50
MAX_VALUES = 100_000

_NUMBER = r"[-+]?(0|[1-9][0-9]{0,30})"
_EXPONENT = r"[eE][-+]?[0-9]{1,4}"
NULL = re.compile(r"(~|null|)\Z")
BOOLEAN = re.compile(r"(true|false)\Z")
INTEGER = re.compile(rf"{_NUMBER}\Z")
FLOAT = re.compile(
    rf"({_NUMBER}\.[0-9]*({_EXPONENT})?|[-+]?\.[0-9]+({_EXPONENT})?|{_NUMBER}{_EXPONENT})\Z"
)
MERGE = re.compile(r"<<\Z")

_TAG = "tag:yaml.org,2002:"


def dotted(place: Place) -> str:
    """`stages[0].optimizer.lr`"""
    words = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return "".join(words).removeprefix(".")


class _Loader(yaml.SafeLoader):
    """Composes nodes, with JSON's idea of scalars; constructs nothing."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (pyyaml declares it so)
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def teach(dialect: Any) -> None:
    """Give a loader or dumper class our idea of which plain scalars are no strings."""
    dialect.add_implicit_resolver(f"{_TAG}null", NULL, ["~", "n", ""])
    dialect.add_implicit_resolver(f"{_TAG}bool", BOOLEAN, ["t", "f"])
    dialect.add_implicit_resolver(f"{_TAG}int", INTEGER, list("-+0123456789"))
    dialect.add_implicit_resolver(f"{_TAG}float", FLOAT, list("-+.0123456789"))
    dialect.add_implicit_resolver(f"{_TAG}merge", MERGE, ["<"])


teach(_Loader)


class Reader:
    """Reads one text; gathers lines, and every problem instead of the first."""

    def __init__(self) -> None:
        self.lines: dict[Place, int | None] = {}
        self.problems: list[Problem] = []
        self._count = 0
        self._depth = 0

    def read(self, text: str) -> Any:
        """The value of the text; of use only when no problems came up."""
        try:
            node = yaml.compose(text, Loader=_Loader)
            return None if node is None else self._value(node, ())
        except yaml.MarkedYAMLError as error:
            why = " ".join(part for part in (error.context, error.problem) if part)
            line = error.problem_mark.line + 1 if error.problem_mark else None
            self.problems.append(Problem("YAML", why, line))
        except yaml.YAMLError as error:
            self.problems.append(Problem("YAML", " ".join(str(error).split())))
        return None

    def _value(self, node: yaml.Node, place: Place, line: int | None = None) -> Any:
        self._count += 1
        self._depth += 1
        if self._count > MAX_VALUES or self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem="too many or too deeply nested values, counting each alias anew",
                problem_mark=node.start_mark,
            )
        self.lines[place] = line or _line(node)
        value: Any
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            value = self._mapping(node, place)
        elif isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            value = [self._value(item, (*place, i)) for i, item in enumerate(node.value)]
        else:
            value = self._scalar(node, place)
        self._depth -= 1
        return value

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                merged = {**self._merged(value, place), **merged}
        for key, value in node.value:
            here = (*place, str(key.value))
            if key.tag == f"{_TAG}str" and key.value in own:
                self._wrong(here, f"given twice, first on line {self.lines[here]}", key)
            elif key.tag == f"{_TAG}str":
                own[key.value] = self._value(value, here, _line(key))
            elif key.tag != f"{_TAG}merge":
                self._wrong(here, "a key is a string; put it in quotes", key)
        return {**merged, **own}

    def _merged(self, node: yaml.Node, place: Place) -> dict[str, Any]:
        """What `<<: *anchor` or `<<: [*one, *other]` brings in; the first one wins."""
        merged: dict[str, Any] = {}
        line = self.lines[place]
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(source, yaml.MappingNode):
                merged = {**self._value(source, place), **merged}
            else:
                self._wrong(place, "`<<` takes a mapping", source)
        self.lines[place] = line
        return merged

    def _scalar(self, node: yaml.Node, place: Place) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool" and BOOLEAN.match(text):
            return text == "true"
        if kind == "int" and INTEGER.match(text):
            return int(text)
        if kind == "float" and FLOAT.match(text):
            return float(text)
        self._wrong(place, f"tags such as {node.tag} are not read", node)
        return None

    def _wrong(self, place: Place, message: str, node: yaml.Node) -> None:
        self.problems.append(Problem(dotted(place), message, _line(node)))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
