"""What a run looks at before it goes on: who else is there, what saved it, and its data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.core.checkpoint import manifest, provenance
from isthmus.core.contracts import StepEnded
from isthmus.core.lock import folder_lock
from isthmus.core.train.run import run
from isthmus.errors import InputError
from tests.core.train.listeners import Crash, Recorder, crash_at
from tests.core.train.tiny import source, stage, tiny_run, write_data

HOLD = """
import sys, time
from pathlib import Path
from isthmus.core.lock import folder_lock
folder_lock(Path(sys.argv[1])).take()
print("held", flush=True)
time.sleep(60)
"""


def test_second_run_in_a_folder_is_refused_by_the_name_of_the_first(tmp_path: Path) -> None:
    write_data(tmp_path, 4)
    config = tiny_run(tmp_path, stage(tmp_path, steps=2, save_every=1))
    said = []

    def again(event: StepEnded) -> None:
        for resume in (False, True):
            with pytest.raises(InputError) as caught:
                run(config, resume=resume)
            said.append(str(caught.value))

    run(config, events=Recorder(again))
    assert len(said) == 4
    assert all(f"in use by another run: process {os.getpid()} on " in each for each in said)
    run(config, resume=True)  # it is free again


def test_run_that_appears_while_a_model_is_built_is_not_run_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isthmus.core.train import run as module

    write_data(tmp_path, 4)
    build = module.build_model

    def build_slowly(*given: object, **named: object) -> object:
        (tmp_path / "run").mkdir()
        return build(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "build_model", build_slowly)
    with pytest.raises(InputError, match="File exists"):
        run(tiny_run(tmp_path))
    assert list((tmp_path / "run").iterdir()) == []


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            folder_lock(tmp_path) as lock,
            pytest.raises(InputError, match=f"process {other.pid} on"),
        ):
            lock.take()
        other.send_signal(signal.SIGKILL)
    with folder_lock(tmp_path) as lock:
        lock.take()
        assert lock.held is not None


def test_other_versions_are_said_in_one_line_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(tmp_path, 4)
    config = tiny_run(tmp_path, stage(tmp_path, steps=2, save_every=1))
    old = {"torch": "1.0", "python": "3.0"}
    monkeypatch.setattr("isthmus.core.checkpoint.saving.versions", lambda: old)
    monkeypatch.setattr("isthmus.core.checkpoint.saving.plugins", lambda: {"isthmus-eye": "0.1"})
    with pytest.raises(Crash):
        run(config, events=crash_at("align", 2))
    heard = Recorder()
    run(config, events=heard, resume=True)
    (note,) = heard.stages[0].notes
    now = provenance.versions()
    assert note.startswith(
        "saved with other versions: isthmus-eye 0.1, now not installed, "
        f"python 3.0, now {now['python']}, torch 1.0, now {now['torch']}. "
    )
    heard = Recorder()
    run(config | {"out": str(tmp_path / "other")}, events=heard)
    assert heard.stages[0].notes == []


def test_other_validation_data_is_refused(tmp_path: Path) -> None:
    write_data(tmp_path, 4)
    write_data(tmp_path / "held out", 4)
    validation = {"data": [source(tmp_path / "held out")]}
    config = tiny_run(tmp_path, stage(tmp_path, steps=2, save_every=1, validation=validation))
    with pytest.raises(Crash):
        run(config, events=crash_at("align", 2))
    file = tmp_path / "held out" / "data.json"
    records = file.read_text()
    file.write_text(json.dumps(json.loads(records)[1:]))
    with pytest.raises(InputError, match=r"stages\[0\]\.validation: it is not the data that"):
        run(config, resume=True)
    file.write_text(records)
    run(config, resume=True)


def test_checkpoint_of_a_newer_layout_is_refused(tmp_path: Path) -> None:
    write_data(tmp_path, 4)
    config = tiny_run(tmp_path, stage(tmp_path, steps=1))
    listing = run(config) / manifest.NAME
    listing.write_text(listing.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(InputError, match="newer isthmus"):
        run(config, resume=True)
