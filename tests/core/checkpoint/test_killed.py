"""`kill -9` in the middle of a save: a checkpoint is whole or not there, and resume is exact."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import isthmus
from isthmus.core import checkpoint
from isthmus.errors import CheckpointError
from tests.core.checkpoint.killed_runs import INSTANTS, LAST, REPLACING, SECOND
from tests.core.train.listeners import metrics

pytestmark = pytest.mark.slow  # some forty small runs

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs, each killed at another instant and gone on with."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "tests.core.checkpoint.killed_runs", str(folder)]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return folder


NEW = [(f"new-{number}", newest) for number, newest in enumerate(INSTANTS.values())]
AGAIN = [(f"again-{number}", newest) for number, newest in enumerate(REPLACING.values())]


def weights(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "model").iterdir()}


def test_no_instant_of_a_save_is_left_out(runs: Path) -> None:
    met = (runs / "whole.met").read_text().splitlines()
    begin, end = met.index(f"make .{SECOND}.tmp"), met.index(f"make .{LAST}.tmp")
    assert set(met[begin:end]) == {each for each in INSTANTS if each in met[begin:end]}


@pytest.mark.parametrize(("case", "newest"), NEW, ids=INSTANTS)
def test_newest_whole_checkpoint_opens_after_a_kill(
    case: str, newest: str | None, runs: Path
) -> None:
    killed = runs / case / "killed"
    if newest is None:
        with pytest.raises(CheckpointError, match="no checkpoint in it"):
            isthmus.load(killed)
        return
    isthmus.load(killed)
    assert checkpoint.find(killed) == checkpoint.Found(killed / "checkpoints" / newest)


@pytest.mark.parametrize(("case", "newest"), AGAIN, ids=REPLACING)
def test_kill_while_a_damaged_checkpoint_is_replaced_loses_no_whole_one(
    case: str, newest: str, runs: Path
) -> None:
    killed = runs / case / "killed"
    if newest == SECOND:
        isthmus.load(killed)
    else:
        with pytest.warns(UserWarning, match=r"skipped a checkpoint: .*trainer\.json has 2 bytes"):
            isthmus.load(killed)
    assert checkpoint.latest(killed).name == newest


@pytest.mark.parametrize("case", [case for case, _ in NEW + AGAIN], ids=[*INSTANTS, *REPLACING])
def test_resumed_run_ends_like_one_that_was_never_killed(case: str, runs: Path) -> None:
    whole, resumed = runs / "whole", runs / case / "resumed"
    last = Path("checkpoints") / LAST
    assert weights(resumed / last) == weights(whole / last)
    assert metrics(resumed) == metrics(whole)
    assert [line["step"] for line in metrics(resumed)] == [1, 2, 3]
    for place in (".", "checkpoints", last, last / "model"):
        assert names(resumed / place) == names(whole / place)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
