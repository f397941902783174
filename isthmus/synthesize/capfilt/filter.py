"""A trained filter: the part of a checkpoint that says whether a text belongs to a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from PIL import Image

from isthmus.core import config as configs
from isthmus.core.assistant import is_blind
from isthmus.core.assistant.opening import device_of, dtype_of, placed
from isthmus.core.checkpoint import CHECKPOINTS, Checkpoint
from isthmus.core.contracts import ImageSlot, Matcher, Objective, Preparer, Sample, Turn
from isthmus.core.model.placeholders import Placeholders
from isthmus.errors import CheckpointError, WorkError

DIGITS = 4
"""Of a score: what is kept follows from no bit that another batch may move."""


class Filter(Protocol):
    """Says whether texts belong to pictures."""

    def scores(self, matches: Sequence[tuple[Image.Image, str]]) -> list[float]:
        """The probability that each picture and its text belong together."""
        ...


class TrainedFilter:
    """The filter of a checkpoint. Raises CheckpointError where it has none, before a weight is
    read; `load` reads them."""

    def __init__(self, opened: Checkpoint) -> None:
        self.opened = opened
        self.run = configs.parse(opened.run, str(opened.folder / "run.yaml")).values
        self.index = _stage_of(opened, self.run)
        self.objective = _objective(self.run, self.index)
        self.matcher = _matcher(self.objective)
        if self.matcher is None:
            raise CheckpointError(_without_head(opened, self.run, self.index, self.objective))

    def load(self, device: str | None) -> TrainedFilter:
        """Read the weights, onto a device."""
        place = device_of(device)
        dtype = dtype_of(self.run, place)
        model = self.opened.model()
        with Placeholders():
            self.objective.join(model)
        try:
            self.objective.load_state_dict(self.opened.objective())
        except RuntimeError as error:
            raise CheckpointError(
                f"{self.opened.folder}: its objective's weights are not those of the objective in "
                f"run.yaml ({' '.join(str(error).split())})"
            ) from error
        self.model = placed(model, place, dtype)
        placed(self.objective.requires_grad_(False).eval(), place, dtype)
        self.device = place
        longest = self.run["stages"][self.index].get("max_length")
        tools = self.model.tools(max_length=longest, blind=is_blind(self.opened))
        matcher: Any = self.matcher
        self.preparer: Preparer = matcher.preparer(tools)
        return self

    @torch.no_grad()
    def scores(self, matches: Sequence[tuple[Image.Image, str]]) -> list[float]:
        if not matches:
            return []
        made = [self.preparer.prepare(_sample(picture, text)) for picture, text in matches]
        batch = self.preparer.collate(made).to(self.device)
        matcher: Any = self.matcher
        found = matcher.belonging(self.model, batch)
        if not found.isfinite().all():
            raise WorkError(f"{self.opened.folder}: the filter's scores are not finite numbers")
        return [round(score, DIGITS) for score in found.tolist()]


def _sample(picture: Image.Image, text: str) -> Sample:
    turns = (Turn("user", (ImageSlot(0),)), Turn("assistant", (text,)))
    return Sample("", turns, (picture,))


def _stage_of(opened: Checkpoint, run: Mapping[str, Any]) -> int:
    index = opened.trainer.index if opened.trainer else -1
    if not -1 <= index < len(run.get("stages") or ()):
        raise CheckpointError(f"{opened.folder}: trainer.json counts more stages than run.yaml has")
    return index


def _objective(run: Mapping[str, Any], index: int) -> Objective:
    written = run["stages"][index].get("objective") or "lm"
    fields = {"type": written} if isinstance(written, str) else written
    objective: Objective = configs.validate_part("objective", fields).build()
    return objective


def _matcher(objective: Objective) -> Matcher | None:
    return next((each for each in objective.each if isinstance(each, Matcher)), None)


def _without_head(
    opened: Checkpoint, run: Mapping[str, Any], index: int, objective: Objective
) -> str:
    names = ", ".join(each.name for each in objective.each)
    said = (
        f"{opened.folder}: its stage {run['stages'][index].get('name')!r} learnt by {names}, which "
        "has no head that says whether a text belongs to a picture"
    )
    if others := list(_others(opened, run)):
        return f"{said}; give another checkpoint of the run: {', '.join(others)}"
    return f"{said}; give a checkpoint of a stage that learnt `itm`"


def _others(opened: Checkpoint, run: Mapping[str, Any]) -> Iterator[str]:
    """Checkpoints beside this one that have such a head."""
    folder = opened.folder.resolve().parent
    if folder.name != CHECKPOINTS:
        return
    for index, stage in enumerate(run["stages"]):
        found = sorted(folder.glob(f"{index + 1:02d}-{stage['name']}-*"))
        if found and _matcher(_objective(run, index)) is not None:
            yield str(found[-1])
