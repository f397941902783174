"""Who takes the same optimizer step: HF Trainer three ways, TRL, and isthmus' own engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.contest import Contender, Task
from benchmarks.engine import Isthmus, IsthmusKept
from benchmarks.models import isthmus_model, transformers_model
from benchmarks.samples import flattened
from benchmarks.trainers import HuggingFace, Trl
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.core.train.parallel import Parallel
from isthmus.core.train.tuning import set_precision


class Models:
    """Both models of a task, each built when first asked for, and one at a time on a GPU."""

    def __init__(self, task: Task, folder: Path | None = None) -> None:
        self.task = task
        self.folder = folder
        """Where features may be kept; None, they are not."""

    @cached_property
    def ours(self) -> VisionLanguageModel:
        model = isthmus_model(self.task.preset, self.task.stage)
        learnt = {name: frozenset[str]() for name in model.parts()}
        set_precision(model.parts(), self.task.bf16, learnt)
        return model

    @cached_property
    def theirs(self) -> Any:
        model = transformers_model(self.ours, self.task.preset, self.task.stage)
        set_precision({"all": model}, self.task.bf16, {"all": frozenset()})
        return model

    def rest(self) -> None:
        """Leave the GPU."""
        for name in ("ours", "theirs"):
            if name in vars(self):
                model = vars(self)[name]
                model.zero_grad(set_to_none=True)
                model.to("cpu")


def contenders(models: Models, parallel: Parallel) -> list[Callable[[], Contender]]:
    """Everyone, in the order of the table; the first is what the others are measured by."""
    task = models.task
    grouped = {"train_sampling_strategy": "group_by_length"}
    made: list[Callable[[], Contender]] = [
        lambda: HuggingFace(task, models.theirs, "HF Trainer, random padding"),
        lambda: HuggingFace(task, models.theirs, "HF Trainer, length-grouped", **grouped),
        lambda: Trl(task, models.theirs),
        lambda: HuggingFace(task, models.theirs, "HF Trainer, stock packing", flattened),
        lambda: Isthmus(task, models.ours, parallel, "isthmus"),
    ]
    if folder := models.folder:
        made.append(lambda: IsthmusKept(task, models.ours, parallel, folder))
    return made
