"""What the tests of CapFilt may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.synthesize.capfilt import CapFiltConfig, capfilt
from tests.synthesize.capfilt_toys import config, save_captioner, save_filter


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner and a filter, each in a folder named for what it does."""
    folder = tmp_path_factory.mktemp("models")
    save_captioner(folder / "captioner")
    save_filter(folder / "filter")
    return folder


@pytest.fixture(scope="session")
def at_once(models: Path, tmp_path_factory: pytest.TempPathFactory) -> CapFiltConfig:
    """A dataset that CapFilt made in one go."""
    made = config(tmp_path_factory.mktemp("whole"), models)
    capfilt(made)
    return made
