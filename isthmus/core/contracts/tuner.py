"""A tuner: which parameters of a part a stage trains, and how.

`frozen`, `full`, `lora`. The optimizer asks the tuner for its groups and never guesses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from isthmus.core.contracts.part import Part, PartConfig

HandOver = Literal["merge", "keep"]
"""What becomes of added weights when the stage ends: folded into the part, or left in it."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate; `lr` None is the optimizer's."""

    name: str
    parameters: dict[str, nn.Parameter]
    lr: float | None = None
    weight_decay: float | None = None


class Tuner(Part, ABC):
    """Chooses what learns in one part. All of the part's parameters arrive frozen."""

    kind: ClassVar[str] = "tuner"
    learns: ClassVar[bool] = True
    """Whether anything learns under it."""

    class Config(PartConfig):
        """Base of a tuner's configuration."""

        lr: float | None = Field(default=None, gt=0)
        """Learning rate of this part; absent, the optimizer's."""

    @abstractmethod
    def apply(self, part: nn.Module) -> None:
        """Add what it adds (in place: the part keeps its class) and unfreeze what learns.

        Matching nothing raises PartError: a tuner must not silently train nothing. Applied
        to a part that already carries its additions, it takes them up again.
        """

    @abstractmethod
    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        """The parameters that learn, after `apply`."""

    def added(self, part: nn.Module) -> frozenset[str]:
        """Names, in the part's state, of what `apply` added to it and did not find there.

        A checkpoint of published weights that are otherwise unchanged keeps these alone.
        """
        return frozenset()

    def finish(self, part: nn.Module) -> None:
        """Hand the part over to the next stage; a tuner that adds nothing does nothing."""
        return
