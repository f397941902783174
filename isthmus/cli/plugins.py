"""`isthmus plugins`: every installed part, where it comes from, and what is wrong."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from isthmus.cli.console import console, table
from isthmus.cli.verbs import VERBS, offers
from isthmus.registry import Registry, discover

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

app = typer.Typer(invoke_without_command=True)

WORDS = {int: "whole number", float: "number", bool: "true or false", str: "string", Path: "path"}


@app.callback()
def plugins(ctx: typer.Context) -> None:
    """List every installed part: its kind, name, what it is, and where it comes from."""
    if ctx.invoked_subcommand:
        return
    registry = discover()
    out = console()
    verbs, problems = offers()
    columns = ("kind", "name", "what it is", "from", "status")
    out.print(table(columns, (*_parts(registry), *_verbs(verbs))))
    for problem in (*registry.problems, *problems):
        out.print(f"problem: {problem}", markup=False)
    for note in registry.notes:
        out.print(f"note: {note}", markup=False)


@app.command()
def show(
    kind: Annotated[str, typer.Argument(help="Kind of part, for example connector.")],
    name: Annotated[
        str | None,
        typer.Argument(help="Its name, for example mlp; without it, all of the kind are listed."),
    ] = None,
) -> None:
    """Show a part's configuration (fields with types, defaults and docs), or a kind's parts."""
    registry, out = discover(), console()
    if name is None:
        if not registry.names(kind):
            out.print(f"no {kind} is installed", markup=False)
            return
        found = (row[1:] for row in _parts(registry) if row[0] == kind)
        out.print(table(("name", "what it is", "from", "status"), found))
        out.print(f"\nisthmus plugins show {kind} NAME shows the fields of one.", markup=False)
        return
    entry = registry.find(kind, name)
    out.print(f"{kind} {name}, from {entry.origin}\n", markup=False)
    out.print(f"{inspect.getdoc(entry.part) or ''}\n", markup=False)
    fields: dict[str, FieldInfo] = entry.part.Config.model_fields
    rows = [
        (key, type_words(info.annotation), _default(info), info.description or "")
        for key, info in fields.items()
    ]
    out.print(table(("field", "type", "default", "what it is"), rows))
    if arguments := _build_arguments(entry.part):
        out.print("\nBuild arguments, which the rest of the model gives:")
        out.print(table(("argument", "type"), arguments))


def _parts(registry: Registry) -> Iterator[tuple[str, ...]]:
    for entry in registry.entries():
        what = (inspect.getdoc(entry.part) or "").split("\n", 1)[0]
        rivals = [e for e in registry.entries() if (e.kind, e.name) == (entry.kind, entry.name)]
        status = "ok" if len(rivals) == 1 else "name taken twice"
        yield entry.kind, entry.name, what, f"{entry.distribution} {entry.version}", status


def _verbs(verbs: dict[str, list[Any]]) -> Iterator[tuple[str, ...]]:
    for name, found in verbs.items():
        for offer in found if name not in VERBS else ():
            status = "ok" if len(found) == 1 else "name taken twice"
            yield "verb", name, offer.value, f"{offer.distribution} {offer.version}", status


def type_words(annotation: Any) -> str:
    """A field's type in the words of a YAML writer."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(arguments[0])
    if origin is Literal:
        return ", ".join(repr(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(type_words(option) for option in arguments)
    if origin in (list, tuple, set, frozenset):
        return f"[{', '.join('...' if a is Ellipsis else type_words(a) for a in arguments)}]"
    if annotation is type(None):
        return "null"
    if annotation in WORDS:
        return WORDS[annotation]
    if hasattr(annotation, "open_kind") and (kind := annotation.open_kind()):
        return f"any {kind}"
    if origin is not None or annotation is Any or hasattr(annotation, "model_fields"):
        return "mapping"
    return str(getattr(annotation, "__name__", annotation))


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _build_arguments(part: Any) -> list[tuple[str, str]]:
    from isthmus.core.contracts import runtime_arguments

    parameters = inspect.signature(part.__init__).parameters
    types_given = ((name, parameters[name].annotation) for name in runtime_arguments(part))
    return [
        (
            name,
            "any"
            if given is inspect.Parameter.empty
            else inspect.formatannotation(given).strip("'"),
        )
        for name, given in types_given
    ]
