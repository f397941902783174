"""A small run: sections, parts, lists, and checks that span several fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from isthmus.core.contracts import AnyConnector, Config, Encoder, Place, Source, Tuner


class Model(Config):
    """The parts."""

    encoder: Encoder.Config | None = None
    """The eye."""
    connector: AnyConnector.Config | None = None
    """The bridge."""


class Schedule(Config):
    """A section that has a `type` and is no part."""

    type: Literal["cosine", "constant"] = "cosine"
    """Shape."""
    warmup: float = 0.03
    """Share of the steps."""


class Step(Config):
    """One stage."""

    name: str
    """Its name."""
    train: dict[str, Tuner.Config] = Field(default_factory=dict)
    """Part to tuner."""
    data: tuple[Source.Config, ...] = ()
    """Sources."""
    lr: float = Field(default=1e-3, gt=0)
    """Learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decays."""
    schedule: Schedule = Schedule()
    """Course of the learning rate."""
    steps: int | None = None
    """Optimizer steps."""
    epochs: int | None = None
    """Passes."""

    def check(self) -> Iterator[tuple[Place, str]]:
        if self.steps is not None and self.epochs is not None:
            yield (), "give either `epochs` or `steps`"


class Run(Config):
    """A run."""

    model: Model = Model()
    """The model."""
    stages: tuple[Step, ...] = Field(min_length=1)
    """Stages in order."""
    blind: bool = False
    """No pictures."""
    out: Path = Path("runs/run")
    """Folder of the run."""

    def check(self) -> Iterator[tuple[Place, str]]:
        for index, stage in enumerate(self.stages):
            for name in stage.train:
                if getattr(self.model, name, None) is None:
                    yield ("stages", index, "train", name), "no part has this name"
