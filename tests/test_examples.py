"""Every YAML that is shipped is a whole, valid run."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.core.config import dump, load
from isthmus.core.train.config import RunConfig
from isthmus.synthesize import SynthesisConfig

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SYNTHESES = sorted(EXAMPLES.glob("synthesize*.yaml"))
RUNS = sorted(set(EXAMPLES.rglob("*.yaml")) - set(SYNTHESES))


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


@pytest.mark.parametrize("file", SYNTHESES, ids=lambda file: file.name)
def test_example_is_a_valid_synthesis_and_means_the_same_once_resolved(file, tmp_path):
    config = load(SynthesisConfig, file)
    resolved = tmp_path / "config.yaml"
    resolved.write_text(dump(config))
    assert load(SynthesisConfig, resolved) == config


def test_the_example_with_an_endpoint_asks_for_the_published_mix():
    config = load(SynthesisConfig, EXAMPLES / "synthesize.yaml")
    assert config.samples == 158_000
    weights = {recipe.owner.name: recipe.weight for recipe in config.recipes}
    assert weights == {"conversation": 58, "detail": 23, "reasoning": 77}
