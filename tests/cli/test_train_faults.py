"""What a disk does to `isthmus train`: one message, an exit code, and nothing saved is lost."""

from __future__ import annotations

import errno
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from isthmus.cli import app
from isthmus.core.checkpoint import weights
from tests.core.train.listeners import metrics
from tests.core.train.tiny import stage, tiny_run, write_data

FAULTS = {
    "no room for weights": (weights, "save_file", errno.ENOSPC),
    "no room for text": (pathlib.Path, "write_text", errno.ENOSPC),
    "fsync fails": (os, "fsync", errno.EIO),
    "no folder may be made": (pathlib.Path, "mkdir", errno.EACCES),
    "nothing may be renamed": (pathlib.Path, "replace", errno.EROFS),
}


@contextmanager
def failing(fault: str, place: str) -> Iterator[None]:
    """The first call of that kind that concerns a path with `place` in it fails."""
    owner, name, number = FAULTS[fault]
    call = getattr(owner, name)

    def broken(*args: Any, **kwargs: Any) -> Any:
        what = [os.readlink(f"/proc/self/fd/{a}") if name == "fsync" else str(a) for a in args]
        if any(place in each for each in what):
            raise OSError(number, os.strerror(number))
        return call(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, broken)
        yield


def train(config: Path, out: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["train", str(config), "--out", str(out), *more])


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    write_data(folder, 4)
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(tiny_run(folder, stage(folder, steps=3, save_every=1))))
    assert train(file, folder / "whole").exit_code == 0
    return file


def assert_ends_like_the_whole_run(out: Path, config: Path) -> None:
    whole = config.parent / "whole"
    assert metrics(out) == metrics(whole)
    last = Path("checkpoints") / "01-align-000003" / "model" / "connector.safetensors"
    assert (out / last).read_bytes() == (whole / last).read_bytes()


@pytest.mark.parametrize("fault", FAULTS)
def test_disk_that_takes_no_checkpoint_ends_the_run_with_one_message(
    fault: str, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with failing(fault, "align-000003"):
        ended = train(config, out)
    assert ended.exit_code == 1
    assert ended.stderr.count("error:") == 1
    assert "Traceback" not in ended.output
    assert os.strerror(FAULTS[fault][2]) in ended.stderr
    assert f"The last whole one is {out / 'checkpoints' / '01-align-000002'}." in ended.stderr
    assert not [path for path in (out / "checkpoints").iterdir() if path.name.startswith(".")]
    assert train(config, out, "--resume").exit_code == 0
    assert_ends_like_the_whole_run(out, config)


@pytest.mark.parametrize("damage", ["a flipped bit", "a file cut short"])
def test_resume_from_behind_a_damaged_checkpoint_says_so(
    damage: str, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with failing("no room for weights", "align-000003"):
        train(config, out)
    file = out / "checkpoints" / "01-align-000002" / "model" / "connector.safetensors"
    good = file.read_bytes()
    bad = good[:-1] if damage == "a file cut short" else good[:-1] + bytes([good[-1] ^ 1])
    file.write_bytes(bad)
    ended = train(config, out, "--resume")
    assert ended.exit_code == 0, ended.output
    said = "".join(ended.output.split())  # a terminal breaks the line anywhere
    assert "note:skippedacheckpoint:" in said
    assert "01-align-000002:damaged:model/connector.safetensorshas" in said
    assert_ends_like_the_whole_run(out, config)
