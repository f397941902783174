"""Writing a checkpoint: everything into a temporary folder, the manifest last, then rename."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

from isthmus.core.checkpoint.folder import find, prune, publish, tidy
from isthmus.core.checkpoint.provenance import plugins, versions
from isthmus.core.checkpoint.snapshot import Parts, Snapshot
from isthmus.core.checkpoint.state import TrainerState
from isthmus.core.checkpoint.weights import Tensors
from isthmus.core.config import to_yaml
from isthmus.core.contracts import Tuner
from isthmus.errors import CheckpointError, WorkError

RUN, TRAINER = "run.yaml", "trainer.json"
OPTIMIZER, OBJECTIVE = "optimizer.safetensors", "objective.safetensors"


class Moment(TypedDict, total=False):
    """What a checkpoint holds besides the model. Nothing of it need be there."""

    trainer: TrainerState | None
    """Where training stands."""
    optimizer: Tensors | None
    """What `flatten_optimizer` gives."""
    objective: Tensors | None
    """The objective's own weights."""
    unchanged: Mapping[str, str]
    """Parts of whose own weights nothing was trained, each with the `weights_hash` that it had
    when it was built: those that came from a hub id or a folder are referenced instead of
    copied, and only what tuners added is."""
    tuners: Mapping[str, Sequence[Tuner.Config]]
    """What has added weights to a part that are still in it, in order."""
    states: Mapping[str, Tensors]
    """In place of the parts' own state, where a sharded model had to be gathered."""
    keep: int | None
    """How many checkpoints beside this one `prune` leaves: of a finished stage, this alone."""


def save(
    folder: Path, model: Parts, run: str | Mapping[str, Any], **moment: Unpack[Moment]
) -> Path:
    """Write a checkpoint to `folder`, all of it or nothing; an older one there is replaced.

    `run` is the resolved run, as YAML or as its mapping. Raises WorkError when the disk does
    not take it; what was there before is still there.
    """
    return prepare(folder, model, run, **moment)()


def prepare(
    folder: Path,
    model: Parts,
    run: str | Mapping[str, Any],
    *,
    copies: bool = False,
    **moment: Unpack[Moment],
) -> Callable[[], Path]:
    """Look at everything now, and return what writes it: the rest of `save`, for any thread.
    With `copies` the model may learn on meanwhile."""
    snapshot = Snapshot(copies)
    snapshot.model(
        model, moment.get("states", {}), moment.get("unchanged", {}), moment.get("tuners", {})
    )
    snapshot.texts[RUN] = run if isinstance(run, str) else to_yaml(run)
    trainer, keep = moment.get("trainer"), moment.get("keep")
    if trainer is not None:
        trainer = replace(trainer, versions=versions(), plugins=plugins())
        snapshot.texts[TRAINER] = trainer.to_json()
        keep = 1 if keep is not None and trainer.finished else keep
    snapshot.tensors(OPTIMIZER, moment.get("optimizer"))
    snapshot.tensors(OBJECTIVE, moment.get("objective"))
    return partial(_write, folder, snapshot, keep)


def _write(folder: Path, snapshot: Snapshot, keep: int | None) -> Path:
    try:
        with publish(folder) as temporary:
            snapshot.write(temporary)
    except OSError as error:
        raise WorkError(_not_written(folder, error)) from error
    try:
        tidy(folder.parent)
        if keep is not None:
            prune(folder.parent, keep, saved=folder)
    except OSError as error:
        raise WorkError(
            f"{folder}: the checkpoint is whole, but older ones could not be removed: {error}"
        ) from error
    return folder


def _not_written(folder: Path, error: OSError) -> str:
    message = f"{folder}: the checkpoint could not be written: {error}."
    with suppress(CheckpointError, OSError):
        message += f" The last whole one is {find(folder.parent, deep=False).folder}."
    return message
