"""YAML -> typed configuration, with every problem at once."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from isthmus.core.config.document import Document, read, secrets
from isthmus.core.config.fields import at, options_at, resolve
from isthmus.core.config.messages import Wrong, explain, mistaken
from isthmus.core.config.overrides import override
from isthmus.core.config.reader import dotted
from isthmus.core.contracts import Config, Part, PartConfig, Place, runtime_arguments
from isthmus.errors import ConfigError, PartError, Problem, did_you_mean
from isthmus.registry import get_registry

C = TypeVar("C", bound=Config)


def load(cls: type[C], source: Path | str | Mapping[str, Any], overrides: Sequence[str] = ()) -> C:
    """The configuration in a YAML file, or in a mapping of plain values.

    `overrides` are those of `--set`. Relative data paths are read from the file's folder, or
    from the current one for a mapping. Raises ConfigError with every problem.
    """
    if isinstance(source, Mapping):
        document = Document(dict(source))
    else:
        document = read(Path(source))
    return typed(cls, override(document, overrides, cls))


def validate_part(kind: str, values: Mapping[str, Any]) -> PartConfig:
    """The Config of a part as YAML writes it: `type`, and its fields.

    Raises PartError for an unknown part, ConfigError for wrong fields.
    """
    fields = dict(values)
    name = fields.pop("type", "")
    cls: type[PartConfig] = get_registry().resolve(kind, name).Config
    return typed(cls, Document(fields, source=f"{kind} {name}"))


def create(kind: str, name: str, **arguments: Any) -> Any:
    """A part: its Config fields and its build arguments in one call.

        isthmus.create("connector", "mlp", depth=2, dim_in=1024, dim_out=4096)

    Raises PartError for an unknown part or argument, ConfigError for a wrong value.
    """
    part: type[Part] = get_registry().resolve(kind, name)
    fields, runtime = tuple(part.Config.model_fields), runtime_arguments(part)
    for given in arguments:
        if given not in fields and given not in runtime:
            raise PartError(
                f"{kind} {name!r} has no argument {given!r}. Config fields: "
                f"{', '.join(fields) or 'none'}. Build arguments: {', '.join(runtime) or 'none'}."
                f"{did_you_mean(given, (*fields, *runtime))}"
            )
    parameters = inspect.signature(part.__init__).parameters
    required = [n for n in runtime if parameters[n].default is inspect.Parameter.empty]
    if missing := [name for name in required if name not in arguments]:
        raise PartError(f"{kind} {name!r} also needs the build arguments {', '.join(missing)}")
    settings = {key: value for key, value in arguments.items() if key in fields}
    config = typed(part.Config, Document(settings, source=f"{kind} {name}"))
    return config.build(**{key: arguments[key] for key in runtime if key in arguments})


def typed(cls: type[C], document: Document) -> C:
    """The document as `cls`, or ConfigError with every problem, in the order of lines."""
    context = {"resolve": resolve, "folder": document.folder or Path()}
    config, wrongs = _validate(cls, document.values, context)
    says = {wrong.place: wrong.message() for wrong in wrongs}
    misspelt = any(wrong.unknown for wrong in wrongs)
    for place, why in _flaws(config):
        # What holds a wrong setting may be wrong only because of that; what is missing may be
        # there under a wrong name.
        holds = any(wrong.place[: len(place)] == place for wrong in wrongs)
        if not holds and not (misspelt and at(document.values, place) is None):
            says.setdefault(place, why)
    for place in secrets(document.values):
        says[place] = f"a secret does not belong in a YAML; name the variable: `{place[-1]}_env`"
    if config is not None and not says:
        return config
    problems = [Problem(dotted(place), why, document.line(place)) for place, why in says.items()]
    raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0), document.source)


def check(config: Config) -> None:
    """Raise ConfigError for what `check` of the configuration, or of one inside it, objects to:
    of one that was made in Python, since loading YAML asks them too."""
    problems = [Problem(dotted(place), why) for place, why in _flaws(config)]
    if problems:
        raise ConfigError(problems)


def _flaws(setting: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    inside: Iterable[tuple[str | int, Any]] = ()
    if isinstance(setting, Config):
        yield from (((*place, *inner), why) for inner, why in setting.check())
        inside = setting
    elif isinstance(setting, Mapping):
        inside = setting.items()
    elif isinstance(setting, list | tuple):
        inside = enumerate(setting)
    for key, inner in inside:
        yield from _flaws(inner, (*place, key))


def _validate(
    cls: type[C], values: Mapping[str, Any], context: dict[str, Any]
) -> tuple[C | None, list[Wrong]]:
    """The typed configuration, if there is one, and what is wrong.

    What spans several fields is checked only once each of them is right. So a stand-in is put
    for a wrong setting or part, or it is taken out, and the rest read again, lest a second
    problem stay hidden behind the first.
    """
    found = {wrong.place: wrong for wrong in mistaken(cls, values)}
    changed: set[Place] = set()
    while True:
        try:
            return cls.model_validate(values, context=context), list(found.values())
        except ValidationError as error:
            new = explain(error, cls, values)
        for wrong in new:
            # What held a changed setting may be wrong only because of that.
            if not any(place[: len(wrong.place)] == wrong.place for place in changed):
                found.setdefault(wrong.place, wrong)
        away: dict[Place, Any] = {
            w.place: None if w.place in changed else w.stand_in for w in new if _light(w, values)
        }
        if not away:
            away.update(_parts(new, cls, values))
        if not away:
            return None, list(found.values())
        for place in away:
            values = _changed(values, place, away[place])
        changed |= away.keys()


def _light(wrong: Wrong, values: Mapping[str, Any]) -> bool:
    """Whether the rest can be read without it: one value of a mapping that is no part."""
    if not wrong.place or wrong.about_part or isinstance(wrong.place[-1], int):
        return False
    around = at(values, wrong.place[:-1])
    if not isinstance(around, Mapping) or wrong.place[-1] not in around:
        return False
    return not isinstance(around[wrong.place[-1]], Mapping)


def _parts(
    wrongs: Iterable[Wrong], cls: type[Config], values: Mapping[str, Any]
) -> dict[Place, PartConfig]:
    """For the parts that these are in, something that passes for any part of the kind."""
    objects: dict[Place, PartConfig] = {}
    for wrong in wrongs:
        for depth in range(1, len(wrong.place) + 1):
            place = wrong.place[:depth]
            options = options_at(cls, values, place)
            kinds = [option for option in options if _is_open(option)]
            if kinds:
                objects[place] = kinds[0].model_construct()
                break
    return objects


def _is_open(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, PartConfig) and bool(option.open_kind())


def _changed(values: Any, place: Place, new: Any) -> Any:
    """A copy with something else at this place, or without it when that is None."""
    if not place:
        return new
    key, rest = place[0], place[1:]
    if not isinstance(values, Mapping):
        return [_changed(v, rest, new) if i == key else v for i, v in enumerate(values)]
    if rest or new is not None:
        return {**values, key: _changed(values.get(key), rest, new)}
    return {k: v for k, v in values.items() if k != key}
