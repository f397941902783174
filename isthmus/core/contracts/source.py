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

    Picklable: a source is sent to data workers. One that cannot be indexed says that it
    `streams` and gives its samples one after another.
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

    @property
    def streams(self) -> bool:
        """Whether samples come in order alone. Nobody asks such a source for its length or for
        a number; each process reads it as training goes on, and from its start when it ends."""
        return False

    def stream(self, skip: int = 0) -> Iterator[Sample]:
        """All samples in order, but for the first `skip`: the same ones whenever it is asked."""
        return (self[index] for index in range(skip, len(self)))

    def texts(self) -> Iterator[str]:
        """Every turn's words, for a tokenizer trained on the run's own text."""
        for sample in self.stream():
            for turn in sample.turns:
                yield turn.text
