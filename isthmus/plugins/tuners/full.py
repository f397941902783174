"""Every weight of the part learns."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from isthmus import hookimpl
from isthmus.core.contracts import ParameterGroup, Tuner
from isthmus.errors import PartError


class Full(Tuner, name="full"):
    """Trains all parameters of the part."""

    class Config(Tuner.Config):
        """Configuration of `full`."""

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    def apply(self, part: nn.Module) -> None:
        if not any(True for _ in part.parameters()):
            raise PartError(
                f"tuner full: {type(part).__name__} has no parameters; there is nothing to train. "
                "Leave the part out of `train`"
            )
        part.requires_grad_(True)

    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        return [ParameterGroup("full", dict(part.named_parameters()), lr=self.config.lr)]


@hookimpl
def register_tuners(register: Callable[[type], None]) -> None:
    register(Full)
