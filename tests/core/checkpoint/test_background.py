"""Checkpoints that are written while training goes on are those that it would have waited for."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus.core import checkpoint
from isthmus.core.checkpoint import Writer, folder, snapshot
from isthmus.core.contracts import StepEnded
from isthmus.core.train import progress
from isthmus.core.train.run import run
from isthmus.errors import WorkError
from tests.core.checkpoint.sameness import RUN, Build
from tests.core.train.listeners import Crash, Recorder, crash_at
from tests.core.train.tiny import stage, tiny_run, write_data

KEEP = {"type": "lora", "r": 2, "hand_over": "keep"}


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "draw_curves", lambda metrics, picture: None)


def files(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


def test_snapshot_is_of_its_moment_whatever_learns_later(tmp_path: Path, build: Build) -> None:
    model = build().requires_grad_(True)
    model.encoder.requires_grad_(False)
    moments = {"x/exp_avg": torch.ones(3)}
    whole = checkpoint.save(tmp_path / "01-a-1", model, RUN, optimizer=moments)
    write = checkpoint.prepare(tmp_path / "01-a-2", model, RUN, optimizer=moments, copies=True)
    with torch.no_grad():
        for tensor in (*model.connector.parameters(), *model.llm.parameters(), *moments.values()):
            tensor.add_(1)
    assert files(write()) == files(whole)


def test_what_is_frozen_is_not_copied_and_what_is_tied_is_copied_once(build: Build) -> None:
    model = build().requires_grad_(False)
    model.llm.requires_grad_(True)
    taken = snapshot.Snapshot(copies=True)
    taken.model(model, {}, {}, {})

    def places(tensors: Any) -> set[int]:
        return {tensor.data_ptr() for tensor in tensors.values()}

    weights = taken.weights
    assert places(weights["model/encoder.safetensors"]) == places(model.encoder.state_dict())
    own = model.llm.state_dict()
    copied = places(weights["model/llm.safetensors"])
    assert not copied & places(own)
    assert len(copied) == len(places(own)) < len(own)


def runs(tmp_path: Path, **fields: Any) -> dict[str, Any]:
    write_data(tmp_path, 6)
    train = {"connector": "full", "llm": KEEP}
    return tiny_run(tmp_path, stage(tmp_path, train=train, steps=4, save_every=1), **fields)


def test_checkpoints_have_the_bytes_of_those_that_training_waits_for(tmp_path: Path) -> None:
    config = runs(tmp_path, keep=9)
    for save in ("sync", "async"):
        run(config | {"out": str(tmp_path / save), "save": save})
    left = {save: files(tmp_path / save / "checkpoints") for save in ("sync", "async")}
    for found in left.values():
        for name in [n for n in found if Path(n).name in ("run.yaml", "manifest.json")]:
            del found[name]  # they name the run's folder
    assert left["sync"] == left["async"]


class Slow:
    """Holds the writer before it renames, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.threads: list[str] = []
        put = folder._put_in_place

        def wait(temporary: Path, target: Path) -> None:
            self.threads.append(threading.current_thread().name)
            assert self.go.wait(60)
            put(temporary, target)

        monkeypatch.setattr(folder, "_put_in_place", wait)


def test_steps_go_on_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch)
    config = runs(tmp_path)
    config["stages"][0] |= {"save_every": 2}

    def look(event: StepEnded) -> None:
        if event.step == 4:
            assert heard.saved == []  # told of when it is whole, not before
            assert not list((tmp_path / "run" / "checkpoints").glob("01*"))
            slow.go.set()

    heard = Recorder(look)
    run(config, events=heard)
    assert [event.step for event in heard.saved] == [2, 4]
    assert all(name.startswith("checkpoint") for name in slow.threads)


def test_crash_waits_for_the_checkpoint_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch)
    threading.Timer(0.5, slow.go.set).start()
    with pytest.raises(Crash):
        run(runs(tmp_path), events=crash_at("align", 2))
    assert checkpoint.latest(tmp_path / "run").name == "01-align-000001"


def test_error_of_the_writer_ends_the_run_at_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def full(temporary: Path, target: Path) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            failed.set()

    heard = Recorder(lambda event: failed.wait(0.2) and None)
    config = runs(tmp_path)
    config["stages"][0] |= {"save_every": 3, "steps": 60}
    monkeypatch.setattr(folder, "_put_in_place", full)
    with pytest.raises(WorkError, match=r"could not be written: .*No space left"):
        run(config, events=heard)
    assert heard.steps[-1].step <= 6  # where the next save would have waited for it
    assert heard.saved == []


def test_writer_raises_an_error_once_and_takes_more(tmp_path: Path) -> None:
    def broken() -> None:
        raise WorkError("no")

    writer = Writer()
    writer.start(broken)
    with pytest.raises(WorkError, match="no"):
        writer.start(lambda: (tmp_path / "x").touch())
    writer.wait()
    writer.start(lambda: (tmp_path / "x").touch())
    writer.close()
    assert writer.over
    assert (tmp_path / "x").exists()
