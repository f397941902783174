"""From a checkpoint to an assistant: its template, where it runs, and in which precision."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from isthmus.core import checkpoint
from isthmus.core import config as configs
from isthmus.core.assistant.assistant import Assistant
from isthmus.core.assistant.classifier import BARE, Classifier, joined
from isthmus.core.checkpoint import CHECKPOINTS, Checkpoint
from isthmus.core.contracts import Template
from isthmus.core.model.placeholders import Placeholders
from isthmus.errors import CheckpointError, InputError

T = TypeVar("T", bound=nn.Module)


def load(
    folder: Path | str, device: str | None = None, dtype: torch.dtype | None = None
) -> Assistant:
    """The assistant in a checkpoint folder, or in the newest whole checkpoint of a run.

    On a GPU where there is one; in bf16 there if the run was, else in fp32. Damaged newer
    checkpoints are warned of. Raises CheckpointError.
    """
    opened = checkpoint.load(folder)
    for line in opened.skipped:
        warnings.warn(f"skipped a checkpoint: {line}", stacklevel=2)
    return assistant_of(opened, device, dtype)


def assistant_of(
    opened: Checkpoint, device: str | None = None, dtype: torch.dtype | None = None
) -> Assistant:
    """The assistant in a checkpoint that is open already; see `load`."""
    template, run = template_of(opened), _run(opened)
    place = device_of(device)
    model = placed(opened.model(), place, dtype or dtype_of(run, place))
    return Assistant(model, template, is_blind(opened), name_of(opened.folder))


def placed(module: T, device: torch.device, dtype: torch.dtype) -> T:
    """The module where it runs, in its precision there."""
    for parameter in module.parameters():
        # Parameters alone: rotary frequencies are buffers, and need fp32.
        parameter.data = parameter.data.to(dtype)
    return module.to(device)


def dtype_of(run: Mapping[str, Any], device: torch.device) -> torch.dtype:
    """bf16 on a GPU where the run was in it, else fp32."""
    half = run.get("precision") == "bf16" and device.type == "cuda"
    return torch.bfloat16 if half else torch.float32


def classifier_of(
    opened: Checkpoint, device: str | None = None, prompts: Sequence[str] = BARE
) -> Classifier:
    """The classifier in a checkpoint of a stage that has learnt by `clip` or `siglip`, in fp32."""
    fields = _stage(opened, _run(opened)).get("objective") or {"type": "lm"}
    config: Any = configs.validate_part("objective", fields)
    place, model = device_of(device), opened.model()
    with Placeholders():
        objective = joined(config.build(), model)
    objective.load_state_dict(opened.objective())
    return Classifier(model.to(place), objective.to(place), prompts, is_blind(opened))


def template_of(opened: Checkpoint) -> Template:
    """The template that the model answers by: that of the stage which the checkpoint was saved in,
    or else the run's. Raises CheckpointError where it cannot answer, before a weight is read."""
    if opened.config.llm is None:
        parts = ", ".join(name for name, _ in opened.config.parts())
        raise CheckpointError(
            f"{opened.folder}: it has no llm that could answer, but {parts}; give a checkpoint of "
            "a stage that has one. (`isthmus evaluate` lets a model that learnt by `clip` or "
            "`siglip` choose among options)"
        )
    run = _run(opened)
    written = _stage(opened, run).get("template") or run.get("template")
    if not written:
        raise CheckpointError(
            f"{opened.folder}: run.yaml names no template, so this model was not taught to answer; "
            "give a checkpoint of a stage that had one, or train one with `template:`"
        )
    fields = {"type": written} if isinstance(written, str) else written
    template: Template = configs.validate_part("template", fields).build()
    return template


def is_blind(opened: Checkpoint) -> bool:
    """Whether its run was on grey pictures alone, so that the assistant sees grey, too."""
    return _run(opened).get("blind") is True


def name_of(folder: Path) -> str:
    """`llava/02-instruct-005196`: the run and its checkpoint."""
    folder = folder.resolve()
    run = folder.parent.parent.name if folder.parent.name == CHECKPOINTS else ""
    return f"{run}/{folder.name}" if run else folder.name


def _run(opened: Checkpoint) -> Mapping[str, Any]:
    return configs.parse(opened.run, str(opened.folder / "run.yaml")).values


def _stage(opened: Checkpoint, run: Mapping[str, Any]) -> Mapping[str, Any]:
    """The stage which the checkpoint was saved in."""
    stages = run.get("stages") or [{}]
    index = opened.trainer.index if opened.trainer else -1
    try:
        stage: Mapping[str, Any] = stages[index]
    except IndexError:
        raise CheckpointError(
            f"{opened.folder}: trainer.json counts more stages than run.yaml has"
        ) from None
    return stage


def device_of(name: str | None) -> torch.device:
    """The device of this name; absent, a GPU where there is one. Raises InputError."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r}: unknown; write cpu, cuda, cuda:1 or mps") from None
    here = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }.get(device.type, 0)
    if (device.index or 0) >= here:
        raise InputError(f"device {name!r}: this machine has none, or torch does not see it")
    return device
