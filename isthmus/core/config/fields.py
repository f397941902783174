"""Which types and parts stand at a place of a document, as far as its values tell."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic_core import PydanticCustomError

from isthmus.core.contracts import Config, PartConfig, Place
from isthmus.errors import PartError
from isthmus.registry import get_registry


def resolve(kind: str, name: str) -> type[PartConfig]:
    """Config of the part of this kind and name; what validation asks through its context.

    Raises pydantic's own error, so that one unknown part does not hide the other problems.
    """
    registry = get_registry()
    if not name:
        known = ", ".join(registry.names(kind))
        message = f"which {kind}? Write `type: NAME`. Known: {known}"
        raise PydanticCustomError("part_untyped", "{why}", {"why": message})
    try:
        config: type[PartConfig] = registry.resolve(kind, name).Config
    except PartError as error:
        raise PydanticCustomError("part_unknown", "{why}", {"why": str(error)}) from error
    return config


def at(values: Any, place: Place) -> Any:
    """The value at this place, or None."""
    for key in place:
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def options_at(annotation: Any, values: Any, place: Place) -> Iterator[Any]:
    """Types that may stand at this place, the alternatives of unions one by one."""
    for option in _options(annotation):
        if not place:
            yield option
            continue
        key, rest = place[0], place[1:]
        inner = at(values, (key,))
        origin, arguments = get_origin(option), get_args(option)
        if _is(option, Config):
            config = _chosen(option, values)
            if config and key in config.model_fields:
                yield from options_at(config.model_fields[str(key)].annotation, inner, rest)
        elif origin and issubclass(origin, Mapping) and len(arguments) == 2:
            yield from options_at(arguments[1], inner, rest)
        elif origin is tuple and Ellipsis not in arguments:
            if isinstance(key, int) and key < len(arguments):
                yield from options_at(arguments[key], inner, rest)
        elif isinstance(key, int) and arguments:
            yield from options_at(arguments[0], inner, rest)


def configs_at(cls: type[Config], values: Any, place: Place) -> list[type[Config]]:
    """Config classes whose fields the mapping at this place gives; several for a union."""
    found = (_chosen(option, at(values, place)) for option in options_at(cls, values, place))
    return [config for config in found if config is not None]


def kind_at(cls: type[Config], values: Any, place: Place) -> str | None:
    """Kind of the parts that may stand at this place; None where no part may."""
    for option in options_at(cls, values, place):
        if _is(option, PartConfig) and (kind := option.open_kind()):
            return str(kind)
    return None


def _options(annotation: Any) -> Iterator[Any]:
    """The alternatives of a union; others are their own only one."""
    if get_origin(annotation) is Annotated:
        yield from _options(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    else:
        yield annotation


def _chosen(option: Any, value: Any) -> type[Config] | None:
    """The Config itself; of an open kind, that of the part which `value` names."""
    if not _is(option, Config):
        return None
    kind = option.open_kind() if issubclass(option, PartConfig) else None
    if kind is None:
        return option
    name = value.get("type") if isinstance(value, Mapping) else value
    try:
        return resolve(kind, name) if isinstance(name, str) else None
    except PydanticCustomError:
        return None


def _is(option: Any, base: type) -> bool:
    return isinstance(option, type) and issubclass(option, base)
