"""Steps from a source that cannot be indexed: window after window of its samples.

A window is held and planned like a small data set of its own, so that a step has the same
samples for any number of processes, and a run goes on from the place where the last window
began. No step reaches over a window's end. A stream that ends is read again from its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from isthmus.core.contracts import Sample, Source
from isthmus.core.data.loader import StepData, StepLoader
from isthmus.core.data.mixture import Mixture
from isthmus.errors import DataError

WINDOW = 4096
"""Samples held at once: their words and the paths of their pictures."""


@dataclass(frozen=True)
class Place:
    """Where a window begins: in which reading of the stream (from 0), after how many of its
    samples, and after how many steps of the stage."""

    reading: int = 0
    samples: int = 0
    step: int = 0


class Held(Source):
    """Samples of one window, by number."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.held = tuple(samples)

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, index: int) -> Sample:
        return self.held[index]

    @property
    def fingerprint(self) -> str:
        return ",".join(sample.id for sample in self.held)


class StreamLoader:
    """Iterating gives the StepData of `first_step` and all steps after it, to `steps`. The
    share of samples that may be left out is one of each window.

    `place` is where the window begins that `first_step` is in, or the one before it, and
    moves on with iteration. `load` plans one window: its loader, told which step is first.
    """

    def __init__(
        self,
        source: Source,
        load: Callable[[Mixture, Place, int], StepLoader],
        *,
        steps: int,
        first_step: int = 0,
        place: Place | None = None,
        window: int = WINDOW,
    ) -> None:
        self.source = source
        self.load = load
        self.steps = steps
        self.first_step = first_step
        self.place = place or Place()
        self.window = window

    @property
    def position(self) -> Mapping[str, Any]:
        """What a resumed run needs to know beside its step; JSON."""
        return {"place": asdict(self.place)}

    def __iter__(self) -> Iterator[StepData]:
        samples = self.source.stream(self.place.samples)
        while self.place.step < self.steps:
            held = list(islice(samples, self.window))
            if held:
                yield from self._window(held)
            elif self.place.samples:
                self.place = Place(self.place.reading + 1, 0, self.place.step)
                samples = self.source.stream()
            else:
                raise DataError("the stream has no sample")

    def _window(self, held: list[Sample]) -> Iterator[StepData]:
        place = self.place
        mixture = Mixture([Held(held)], [1.0])
        loader = self.load(mixture, place, max(0, self.first_step - place.step))
        for data in loader:
            step = place.step + data.step
            if step >= self.steps:
                break
            yield replace(data, step=step)
        self.place = Place(place.reading, place.samples + len(held), place.step + loader.plan.steps)
