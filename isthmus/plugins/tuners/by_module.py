"""A tuner for each of several modules in one part, as where one of two encoders learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from pydantic import Field
from torch import nn

from isthmus import hookimpl
from isthmus.core.contracts import ParameterGroup, Place, Tuner
from isthmus.errors import PartError, did_you_mean


class ByModule(Tuner, name="by_module"):
    """Tunes modules of the part by name, each in its own way; what is not named is frozen."""

    class Config(Tuner.Config):
        """Configuration of `by_module`."""

        modules: dict[str, Tuner.Config] = Field(min_length=1)
        """Name of a module in the part -> its tuner. In `concat`, encoders are `encoders.0`,
        `encoders.1`, ...; in `tiles` there is `encoder`."""

        def check(self) -> Iterator[tuple[Place, str]]:
            tuners: list[type[Tuner]] = [t.owner for t in self.modules.values()]  # type: ignore[misc]
            if not any(tuner.learns for tuner in tuners):
                yield ("modules",), "nothing in them learns; write `frozen` for the whole part"
            for name in self.modules:
                around = [other for other in self.modules if name.startswith(f"{other}.")]
                if around:
                    yield ("modules", name), f"it lies inside {around[0]!r}, which is named too"

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config
        self.tuners: dict[str, Tuner] = {n: tuner.build() for n, tuner in config.modules.items()}

    def apply(self, part: nn.Module) -> None:
        part.requires_grad_(False)
        for name, tuner in self.tuners.items():
            tuner.apply(_module(part, name))

    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        return [
            replace(
                group,
                name=f"{name}.{group.name}",
                parameters={f"{name}.{key}": p for key, p in group.parameters.items()},
                lr=group.lr or self.config.lr,
            )
            for name, tuner in self.tuners.items()
            for group in tuner.groups(_module(part, name))
        ]

    def added(self, part: nn.Module) -> frozenset[str]:
        return frozenset(
            f"{name}.{key}"
            for name, tuner in self.tuners.items()
            for key in tuner.added(_module(part, name))
        )

    def finish(self, part: nn.Module) -> None:
        for name, tuner in self.tuners.items():
            tuner.finish(_module(part, name))


def _module(part: nn.Module, name: str) -> nn.Module:
    known = {key: module for key, module in part.named_modules() if key}
    if name not in known:
        near = did_you_mean(name, list(known))
        tops = [key for key in known if key.count(".") < 2]
        raise PartError(
            f"tuner by_module: modules: {type(part).__name__} has no module {name!r}.{near} There "
            f"are: {', '.join(tops[:12]) or 'none'}"
        )
    return known[name]


@hookimpl
def register_tuners(register: Callable[[type], None]) -> None:
    register(ByModule)
