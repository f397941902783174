"""Where a run begins: in an empty folder, or after its newest whole checkpoint."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.core.checkpoint import CHECKPOINTS, Checkpoint, TrainerState, load, other_versions
from isthmus.core.config import dump, parse
from isthmus.core.lock import FileLock
from isthmus.core.train.config import RunConfig
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.parallel import Parallel
from isthmus.errors import CheckpointError, InputError

CONFIG = "config.yaml"

FREE = re.compile(
    r"out|workers|threads|trackers|keep|save|ledger|parallel|compile"
    r"|stages\[\d+\]\.(save_every|parallel|recompute|features|evaluate)"
)
"""Settings that may differ on resume: the course of training does not follow from them."""


@dataclass(frozen=True)
class Start:
    """Where a run takes up: before stage `index`, or inside it. None of it is a new run.

    `notes` say which newer checkpoints are damaged, and what may make the rest of the run
    another one.
    """

    checkpoint: Checkpoint | None = None
    notes: tuple[str, ...] = ()

    @property
    def index(self) -> int:
        """The stage to train next, from 0."""
        if self.checkpoint is None:
            return 0
        state = state_of(self.checkpoint)
        return state.index + 1 if state.finished else state.index

    @property
    def under_way(self) -> Checkpoint | None:
        """The checkpoint, if its stage is not over."""
        if self.checkpoint and not state_of(self.checkpoint).finished:
            return self.checkpoint
        return None

    def done(self, stages: Sequence[OpenStage]) -> dict[str, float]:
        """Stage -> its steps that are done and kept, of the stages that have any."""
        over = {stage.config.name: math.inf for stage in stages[: self.index]}
        if self.under_way:
            state = state_of(self.under_way)
            over[state.stage] = state.step
        return over


def find_start(
    settings: RunConfig,
    stages: Sequence[OpenStage],
    parallel: Parallel,
    resume: bool,
    lock: FileLock,
) -> Start:
    """Where to begin; nothing is written but the lock. Raises InputError when another run holds
    the folder, when it has another run in it, or this one and `resume` is not set, or when
    settings or data are not those before."""
    found = parallel.on_main(lambda: _find(settings, stages, resume, lock))
    return Start(load(found[0], deep=False), found[1]) if found else Start()


def claim(settings: RunConfig, lock: FileLock) -> None:
    """Make the run's folder, with the resolved configuration in it."""
    try:
        # A folder that was not there when the run was opened is another run's by now.
        settings.out.mkdir(parents=True, exist_ok=lock.held is not None or not lock.offered)
        lock.take()
        (settings.out / CONFIG).write_text(dump(settings), encoding="utf-8")
    except OSError as error:
        raise InputError(f"out: {settings.out} cannot be written: {error.strerror}") from error


def state_of(checkpoint: Checkpoint) -> TrainerState:
    """The trainer's state of a checkpoint to be resumed."""
    if checkpoint.trainer is None:
        raise CheckpointError(
            f"{checkpoint.folder}: it holds a model but no state of a training run to go on with"
        )
    return checkpoint.trainer


def _find(
    settings: RunConfig, stages: Sequence[OpenStage], resume: bool, lock: FileLock
) -> tuple[Path, tuple[str, ...]] | None:
    """Folder of the newest whole checkpoint, and notes."""
    out = settings.out
    _check_place(out)
    if out.exists():
        lock.take()
    holds = (out / CONFIG).exists() or (out / CHECKPOINTS).exists()
    if holds and not resume:
        raise InputError(
            f"out: {out} already holds a run. Write --resume to go on with it (in Python: "
            "resume=True), or give another folder with --out"
        )
    saved = out / CHECKPOINTS
    if not saved.is_dir() or all(path.name.startswith(".") for path in saved.iterdir()):
        return None
    checkpoint = load(out)
    _refuse_drift(checkpoint, settings)
    _refuse_other_data(checkpoint, stages)
    notes = [f"skipped a checkpoint: {line}" for line in checkpoint.skipped]
    if others := other_versions(state_of(checkpoint)):
        notes.append(
            f"saved with other versions: {', '.join(others)}. The same numbers to the last bit "
            "are promised with those of before alone"
        )
    return checkpoint.folder, tuple(notes)


def _check_place(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"out: {out} is a file; a run needs a folder of its own")
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"out: {out} cannot be made, since {there} is not a folder to write to")


def _refuse_drift(checkpoint: Checkpoint, settings: RunConfig) -> None:
    before = parse(checkpoint.run).values
    now = parse(dump(settings)).values
    changed = list(differences(before, now, ""))
    if changed:
        raise InputError(
            f"{checkpoint.folder} was trained with other settings: {'; '.join(changed[:5])}. "
            "Give them back to resume, or start a new run with --out"
        )


def differences(before: Any, now: Any, where: str) -> Iterator[str]:
    """Settings below `where` that do not say what they said before, and both."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in (*before, *(key for key in now if key not in before)):
            inner = f"{where}.{key}" if where else str(key)
            if not FREE.fullmatch(inner):
                yield from differences(before.get(key), now.get(key), inner)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, pair in enumerate(zip(before, now, strict=True)):
            yield from differences(*pair, f"{where}[{index}]")
    elif before != now:
        yield f"{where} was {before!r} and is {now!r}"


def _refuse_other_data(checkpoint: Checkpoint, stages: Sequence[OpenStage]) -> None:
    before = state_of(checkpoint).fingerprints
    for stage in stages:
        for name, now in stage.fingerprints.items():
            if before.get(name, now) != now:
                section = name.removeprefix(stage.config.name).replace("/", ".") or ".data"
                raise InputError(
                    f"stages[{stage.index}]{section}: it is not the data that {checkpoint.folder} "
                    "was trained with; give back the same records, or start a new run with --out"
                )
