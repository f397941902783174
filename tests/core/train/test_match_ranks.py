"""Losses that compare all matches of a step, on two processes and on one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from isthmus.core.train.parallel import Parallel
from tests.core.train.match_gradients import CASES, gradients
from tests.core.train.tiny import write_data

REPOSITORY = Path(__file__).parents[3]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven matches; the colours come again, so that some have one text."""
    folder = tmp_path_factory.mktemp("matches")
    write_data(folder, 11)
    return folder


@pytest.fixture(scope="module")
def alone(data: Path) -> dict[str, Tensor]:
    parallel = Parallel(threads=1)
    found: dict[str, Tensor] = {}
    for case in CASES:
        found |= gradients(data, "ddp", case, parallel)
    return found


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_compare_what_one_does(
    data: Path, alone: dict[str, Tensor], tmp_path: Path, mode: str
):
    out = tmp_path / "two.safetensors"
    command = [*TORCHRUN, "-m", "tests.core.train.match_gradients", str(data), str(out), mode]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=REPOSITORY)
    assert ran.returncode == 0, ran.stderr
    two = load_file(out)
    assert two.keys() == alone.keys()
    for name, wanted in alone.items():
        torch.testing.assert_close(two[name], wanted, rtol=1e-4, atol=2e-6, msg=name)
