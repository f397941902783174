"""What every part is: a class with a frozen, typed `Config` that builds it.

    class Mlp(Connector, name="mlp"):
        class Config(Connector.Config):
            depth: int = 2
            \"\"\"Number of linear layers.\"\"\"

`Mlp.Config(depth=3).build(dim_in=1024, dim_out=4096)` makes the part with no registry and
no YAML. A field typed with a contract's Config (`encoder: Encoder.Config`) stands for any
registered part of that kind: pydantic finds the class through its validation context,
which `core.config` fills from the registry, so contracts know no registry.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError, core_schema

from isthmus.errors import PartError

Resolve = Callable[[str, str], "type[PartConfig]"]
"""(kind, name) -> the Config class of that part; raises PartError."""

Place = tuple[str | int, ...]
"""Keys and list positions that lead to a setting."""


def _from_folder(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str | Path):
        return value
    return Path((info.context or {}).get("folder", "."), Path(value).expanduser()).absolute()


DataPath = Annotated[Path, BeforeValidator(_from_folder)]
"""A file or folder that a run reads. Relative ones are taken from the YAML file's folder (in
Python, from the current one) and are absolute from then on, so that the resolved YAML means
the same wherever it is loaded."""


class Config(BaseModel):
    """Base of every configuration: frozen, unknown keys refused, fields documented."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
        protected_namespaces=(),
    )

    def check(self) -> Iterator[tuple[Place, str]]:
        """What is wrong although every field is right by itself: the place, from here, and why.

        Asked when YAML is loaded, by `build`, and before a run begins; so that all of it can be
        said at once, it is no validator of pydantic's, which would hide what is around it. It may
        import what a part is made with, but builds no weights and reaches no network.
        """
        return iter(())


class PartConfig(Config):
    """Base of the `Config` nested in a part; `owner` is the class that it builds."""

    owner: ClassVar[type[Part]]

    @property
    def pretrained(self) -> str | None:
        """Hub id or folder that the weights come from; None when they are drawn."""
        return None

    @property
    def all_pretrained(self) -> bool:
        """Whether every weight comes from there, so that a checkpoint may name the source of a
        part that did not learn, instead of copying it."""
        return self.pretrained is not None

    @classmethod
    def open_kind(cls) -> str | None:
        """Kind whose every part may stand in a field of this type: that of a contract's own
        Config. None for the Config of one finished part."""
        owner: type[Part] | None = cls.__dict__.get("owner")
        return None if owner is None or owner.name else owner.kind or None

    def build(self, **runtime: Any) -> Any:
        """The part itself. Sizes, tokenizer and device are arguments here, never fields.

        Raises PartError for what `check` objects to.
        """
        for place, why in self.check():
            where = ": ".join((f"{self.owner.kind} {self.owner.name}", *map(str, place)))
            raise PartError(f"{where}: {why}")
        build: Any = self.owner
        return build(self, **runtime)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        kind = cls.open_kind()
        if kind is None:
            return handler(source)
        return core_schema.with_info_plain_validator_function(
            lambda value, info: _resolve(kind, value, info),
            serialization=core_schema.plain_serializer_function_ser_schema(dump_part),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        kind = cls.open_kind()
        return handler(schema) if kind is None else {"x-part": kind}


class Part:
    """Base of every part. `kind` is set by its contract, `name` by the class statement."""

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    Config: ClassVar[type[PartConfig]] = PartConfig
    config: PartConfig

    def blueprint(self) -> PartConfig:
        """A config that builds the same part from nothing but itself: no hub, no folder.

        Its weights are drawn; a checkpoint loads its own over them. A part that reads its
        shape from a hub id or a folder returns that shape written out.
        """
        return self.config

    def __init_subclass__(cls, *, name: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = name
        if "Config" not in cls.__dict__:
            # Without its own Config a class would inherit one that builds its parent.
            body = {"__module__": cls.__module__, "__qualname__": f"{cls.__qualname__}.Config"}
            cls.Config = type("Config", (cls.Config,), body)
        cls.Config.owner = cls
        # The schema depends on the owner, which did not exist when pydantic made it.
        cls.Config.model_rebuild(force=True)
        if name:
            _refuse_overlap(cls)


def dump_part(config: PartConfig) -> dict[str, Any]:
    """The configuration as YAML writes it: `type` first, then every field."""
    return {"type": config.owner.name, **config.model_dump(mode="json")}


def runtime_arguments(cls: type[Part]) -> tuple[str, ...]:
    """Names that `build` takes for this part, read off its constructor."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(p.name for p in parameters[2:] if p.kind in named)


def _refuse_overlap(cls: type[Part]) -> None:
    both = set(runtime_arguments(cls)) & set(cls.Config.model_fields)
    if both:
        raise TypeError(
            f"{cls.__qualname__}: {', '.join(sorted(both))} is both a Config field and an "
            "argument of build; `create` could not tell them apart. Rename one of them."
        )


def _resolve(kind: str, value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, PartConfig):
        if value.owner.kind != kind:
            raise PydanticCustomError(
                "part_kind",
                "{found} is a {found_kind}; a {kind} is needed here",
                {"found": value.owner.name, "found_kind": value.owner.kind, "kind": kind},
            )
        return value
    resolve: Resolve | None = (info.context or {}).get("resolve")
    if resolve is None:
        raise PydanticCustomError(
            "part_object",
            "write a {kind} Config object here, or load YAML through isthmus.run",
            {"kind": kind},
        )
    if isinstance(value, str):
        value = {"type": value}
    if not isinstance(value, dict):
        raise PydanticCustomError(
            "part_value",
            "a {kind} is a name, or a mapping with `type: NAME`; found {found}",
            {"kind": kind, "found": repr(value)},
        )
    fields = dict(value)
    return resolve(kind, fields.pop("type", "")).model_validate(fields, context=info.context)
