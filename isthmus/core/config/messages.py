"""What is wrong with a setting, in plain words: where, what was found, what is possible."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from isthmus.core.config.fields import at, configs_at, options_at
from isthmus.core.contracts import Config, PartConfig, Place
from isthmus.errors import did_you_mean

NEEDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "a string",
    "path": "a path",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "none": "null",
}
"""First word of pydantic's error type -> what the setting needs."""

BOUNDS = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "a {what} of at least {min_length}",
    "too_long": "a {what} of at most {max_length}",
    "string_too_short": "a string of at least {min_length}",
    "string_too_long": "a string of at most {max_length}",
    "string_pattern_mismatch": "a string that matches {pattern}",
}
"""Error type -> what the setting needs, with pydantic's numbers."""


@dataclass
class Wrong:
    """What is wrong at one place. The alternatives of a union add up in `needs`.

    `unknown` says that no field has this name; `stand_in` is a value that would probably do,
    with which to look for other problems.
    """

    place: Place
    found: Any
    says: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    hint: str = ""
    about_part: bool = False
    unknown: bool = False
    stand_in: Any = None

    def message(self) -> str:
        """The sentence."""
        says = list(dict.fromkeys(self.says))
        if self.needs:
            needs = " or ".join(dict.fromkeys(self.needs))
            says.append(f"must be {needs}; found {_show(self.found)}.{self.hint}")
        return " Or: ".join(says)


def explain(error: ValidationError, cls: type[Config], values: Mapping[str, Any]) -> list[Wrong]:
    """One `Wrong` for each place that pydantic complains about, in its order."""
    found: dict[Place, Wrong] = {}
    for raw in error.errors(include_url=False):
        kind, context = raw["type"], raw.get("ctx", {})
        place = _place(raw["loc"], values, kind)
        here = at(values, place)
        if kind == "too_short" and len(here or ()) >= context["min_length"]:
            continue  # some of its items are wrong, and pydantic counts only the others
        if kind in ("part_unknown", "part_untyped") and isinstance(here, Mapping):
            place = (*place, "type")
        wrong = found.setdefault(place, Wrong(place, raw["input"]))
        wrong.about_part |= kind.startswith("part_")
        need = _need(kind, context)
        if need:
            wrong.needs.append(need)
            wrong.hint = _near(wrong.found, context.get("expected", ""))
            wrong.stand_in = _stand_in(kind, context)
        elif kind == "extra_forbidden":
            wrong.unknown = True
            wrong.says.append(_unknown(cls, values, place))
        elif kind == "missing":
            wrong.says.append(_missing(cls, values, place))
        else:
            wrong.says.append(str(context.get("error", "")) or _plain(raw["msg"]))
    return [wrong for wrong in found.values() if not _other_alternative(wrong, found)]


def _other_alternative(wrong: Wrong, found: Iterable[Place]) -> bool:
    """Whether it asks for something else than the mapping there, in which something is wrong:
    `{vocab_siz: 512}` where a string may stand is a misspelt mapping, and no string."""
    depth = len(wrong.place)
    inside = any(len(place) > depth and place[:depth] == wrong.place for place in found)
    return inside and isinstance(wrong.found, Mapping) and not wrong.says


def mistaken(cls: type[Config], values: Any, place: Place = ()) -> Iterator[Wrong]:
    """Scalars that pydantic would read as what YAML says they are not: `yes` or 1 as a
    boolean, true or `'10'` as a number."""
    inside = at(values, place)
    if isinstance(inside, Mapping):
        for key in inside:
            yield from mistaken(cls, values, (*place, key))
    elif isinstance(inside, list | tuple):
        for index in range(len(inside)):
            yield from mistaken(cls, values, (*place, index))
    elif isinstance(inside, str | bool | int | float):
        options = {*options_at(cls, values, place)} - {type(None)}
        if options == {bool} and not isinstance(inside, bool):
            yield Wrong(place, inside, needs=[NEEDS["bool"]])
        elif options and options <= {int, float} and _lax_number(inside):
            yield Wrong(place, inside, needs=[NEEDS["int" if options == {int} else "float"]])


def _lax_number(value: Any) -> bool:
    try:
        return isinstance(value, bool) or (isinstance(value, str) and math.isfinite(float(value)))
    except ValueError:
        return False


def _place(location: Sequence[str | int], values: Any, kind: str) -> Place:
    """Pydantic's location without the names of a union's alternatives, which it adds."""
    place: list[str | int] = []
    for key in location:
        inner = at(values, (key,))
        if inner is not None or (isinstance(values, Mapping) and key in values):
            place.append(key)
            values = inner
    if kind == "missing":
        place.append(location[-1])
    return tuple(place)


def _need(kind: str, context: Mapping[str, Any]) -> str:
    if kind in ("literal_error", "enum"):
        return str(context["expected"])
    if kind in BOUNDS:
        numbers = {k: f"{v:g}" if isinstance(v, float) else v for k, v in context.items()}
        what = "mapping" if context.get("field_type") == "Dictionary" else "list"
        return BOUNDS[kind].format(**numbers, what=what)
    return NEEDS.get(kind.split("_")[0], "")


def _stand_in(kind: str, context: Mapping[str, Any]) -> Any:
    if kind == "literal_error":
        return context["expected"].split("'")[1] if "'" in context["expected"] else None
    if kind.startswith("bool"):
        return False
    numbers = ("int", "float", "finite", "greater", "less", "multiple")
    return 1 if kind.startswith(numbers) else None


def _near(found: Any, expected: str) -> str:
    """A near name among those of pydantic's `'a', 'b' or 'c'`."""
    return did_you_mean(found, expected.split("'")[1::2]) if isinstance(found, str) else ""


def _unknown(cls: type[Config], values: Any, place: Place) -> str:
    configs = configs_at(cls, values, place[:-1])
    fields = list(dict.fromkeys(name for config in configs for name in config.model_fields))
    name, of, words = str(place[-1]), "", fields
    if configs and issubclass(configs[0], PartConfig):
        of, words = f" of {configs[0].owner.name}", ["type", *fields]
    known = f"Fields{of}: {', '.join(fields)}." if fields else f"There are no fields{of}."
    near = did_you_mean(name, words) or _deeper(cls, values, place)
    return f"no such field. {known}{near}"


def _deeper(cls: type[Config], values: Any, place: Place) -> str:
    """` Did you mean 'optimizer.lr'?` where a section beside it has a field of this name."""
    for config in configs_at(cls, values, place[:-1]):
        for section in config.model_fields:
            for inner in configs_at(config, {section: {}}, (section,)):
                if place[-1] in inner.model_fields:
                    return f" Did you mean '{section}.{place[-1]}'?"
    return ""


def _missing(cls: type[Config], values: Any, place: Place) -> str:
    for config in configs_at(cls, values, place[:-1]):
        if described := config.model_fields[str(place[-1])].description:
            return f"missing. {described}"
    return "missing"


def _show(value: Any) -> str:
    """The value as YAML writes it, cut short."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list | tuple | set):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(message: str) -> str:
    return message[:1].lower() + message[1:]
