"""Nothing of the part learns: what a stage does to parts that it does not name, said aloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import nn

from isthmus import hookimpl
from isthmus.core.contracts import ParameterGroup, Tuner


class Frozen(Tuner, name="frozen"):
    """Leaves every weight as it is."""

    learns: ClassVar[bool] = False

    class Config(Tuner.Config):
        """Configuration of `frozen`."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def apply(self, part: nn.Module) -> None:
        part.requires_grad_(False)

    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        return []


@hookimpl
def register_tuners(register: Callable[[type], None]) -> None:
    register(Frozen)
