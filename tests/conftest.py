"""What every test may ask for."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.site_folder import site  # noqa: F401 (a fixture)

# Tensors here are tiny: several threads a process would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the suite in its background has children ignore Ctrl-C; those of the suite
# are to hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data, or a skip that says where it was looked for."""
    folder = Path(os.environ.get("ISTHMUS_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set ISTHMUS_DATA to its folder")
    return folder
