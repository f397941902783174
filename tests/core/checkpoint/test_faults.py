"""Whatever breaks, while saving or later on the disk, a whole checkpoint is found."""

from __future__ import annotations

import errno
import os
import pathlib
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus.core import checkpoint
from isthmus.core.checkpoint import TrainerState, weights
from isthmus.errors import CheckpointError, WorkError
from tests.core.checkpoint.sameness import RUN, Build, same


def test_every_damaged_file_makes_an_older_checkpoint_the_newest(
    tmp_path: Path, build: Build
) -> None:
    model = build()
    older = checkpoint.save(tmp_path / "01-a-1", model, RUN)
    newer = checkpoint.save(tmp_path / "01-a-2", model, RUN)
    for path in [p for p in newer.rglob("*") if p.is_file()]:
        good = path.read_bytes()
        middle = len(good) // 2
        for bad in (
            None,
            good[:middle],
            good[:middle] + bytes([good[middle] ^ 4]) + good[middle + 1 :],
        ):
            path.unlink() if bad is None else path.write_bytes(bad)
            opened = checkpoint.load(tmp_path)
            assert opened.folder == older
            assert len(opened.skipped) == 1
            assert str(newer) in opened.skipped[0]
        path.write_bytes(good)
    assert checkpoint.load(tmp_path).folder == newer


def test_a_planted_pickle_is_never_read(tmp_path: Path, build: Build) -> None:
    folder = checkpoint.save(tmp_path / "01-a-1", build(), RUN)
    path = folder / "model" / "llm.safetensors"
    torch.save({"x": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(folder)


STEPS = {
    "fsync": (os, "fsync"),
    "rename": (pathlib.Path, "replace"),
    "folder": (pathlib.Path, "mkdir"),
    "text": (pathlib.Path, "write_text"),
    "weights": (weights, "save_file"),
}


@contextmanager
def failing(step: str, at: int, error: BaseException) -> Iterator[list[int]]:
    """The `at`-th call of this step fails; yields how often it was called."""
    owner, name = STEPS[step]
    original = getattr(owner, name)
    calls = [0]

    def call(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            raise error
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, call)
        yield calls


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("again", [False, True], ids=["new", "replaced"])
def test_whatever_fails_a_whole_checkpoint_stays(
    step: str, again: bool, tmp_path: Path, build: Build
) -> None:
    old, new = build(seed=1), build(seed=2)
    parent = tmp_path / "checkpoints"
    checkpoint.save(parent / "01-a-1", old, RUN)
    target = parent / ("01-a-1" if again else "01-a-2")
    at = 0
    while True:
        at += 1
        error = OSError(errno.ENOSPC, "No space left on device")
        with failing(step, at, error) as calls:
            message = failure_of_a_save(target, new)
        if message is None:
            break
        assert calls[0] >= at
        assert "No space left on device" in message
        opened = checkpoint.load(parent)
        assert opened.skipped == ()
        assert same(opened.model(), old) or same(opened.model(), new)
        assert not [path for path in parent.iterdir() if path.name.startswith(".")]
        checkpoint.save(parent / "01-a-1", old, RUN)
        shutil.rmtree(parent / "01-a-2", ignore_errors=True)
    assert at > 1, "the step was never taken"
    assert same(checkpoint.load(target).model(), new)


def failure_of_a_save(target: Path, model: Any) -> str | None:
    """The message of a save that failed, or None."""
    try:
        checkpoint.save(target, model, RUN, trainer=TrainerState("a", 0, 2), keep=1)
    except WorkError as error:
        return str(error)
    return None


def test_a_full_disk_is_one_message_and_leaves_no_half_folder(tmp_path: Path, build: Build) -> None:
    model = build()
    parent = tmp_path / "checkpoints"
    older = checkpoint.save(parent / "01-a-1", model, RUN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(WorkError, match=rf"could not be written.*last whole one is {older}"):
            checkpoint.save(parent / "01-a-2", model, RUN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in parent.iterdir()] == ["01-a-1"]
