"""A source: where samples come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from isthmus.core.contracts.conversation import Sample
from isthmus.core.contracts.part import Part, PartConfig


class Source(Part, ABC):
    """Samples by number. Opening one reads no pixels; workers read them when due.

    Picklable: a source is sent to data workers.
    """

    kind: ClassVar[str] = "source"

    class Config(PartConfig):
        """Base of a source's configuration."""

        weight: float = Field(default=1.0, gt=0)
        """How often an epoch uses each sample: 2 is twice, 0.5 a random half."""

    config: Config

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Sample `index`; a wrong record raises DataError naming file and record."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when the records change: resuming refuses other data."""

    @property
    def weight(self) -> float:
        """How often an epoch uses each sample."""
        return self.config.weight

    def texts(self) -> Iterator[str]:
        """Every turn's words, for a tokenizer trained on the run's own text."""
        for index in range(len(self)):
            for turn in self[index].turns:
                yield turn.text
