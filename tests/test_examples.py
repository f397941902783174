"""Every YAML that is shipped is a whole, valid run."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.core.config import dump, load
from isthmus.core.train.config import RunConfig

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
RUNS = sorted(EXAMPLES.rglob("*.yaml"))


@pytest.mark.parametrize("file", RUNS, ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_example_is_a_valid_run(file):
    config = load(RunConfig, file)
    assert config.stages


@pytest.mark.parametrize("file", RUNS, ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_example_means_the_same_once_resolved(file, tmp_path):
    config = load(RunConfig, file)
    resolved = tmp_path / "config.yaml"
    resolved.write_text(dump(config))
    assert load(RunConfig, resolved) == config


def test_lora_recipe_has_the_published_rank_and_rates():
    stage = load(RunConfig, EXAMPLES / "llava-1.5-lora.yaml").stages[1]
    lora = stage.train["llm"]
    assert (lora.r, lora.alpha, lora.lr) == (128, 256, 2e-4)
    assert stage.train["connector"].lr == 2e-5
