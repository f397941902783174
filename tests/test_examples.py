"""Every YAML that is shipped is a whole, valid run or evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.core.config import dump, load
from isthmus.core.contracts import Config
from isthmus.core.train.config import RunConfig
from isthmus.evaluate.config import EvaluationConfig
from isthmus.synthesize import SynthesisConfig
from isthmus.synthesize.capfilt import CapFiltConfig

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FILES = sorted(EXAMPLES.rglob("*.yaml"))


def class_of(file: Path) -> type[Config]:
    if file.name.startswith("synthesize"):
        return SynthesisConfig
    if file.name == "capfilt.yaml":
        return CapFiltConfig
    return EvaluationConfig if file.stem.endswith("evaluate") else RunConfig


def test_there_are_examples_of_all() -> None:
    found = {class_of(file) for file in FILES}
    assert found == {CapFiltConfig, EvaluationConfig, RunConfig, SynthesisConfig}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_example_is_valid_and_means_the_same_once_resolved(file: Path, tmp_path: Path) -> None:
    config = load(class_of(file), file)
    resolved = tmp_path / "config.yaml"
    resolved.write_text(dump(config))
    assert load(class_of(file), resolved) == config


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_example_writes_below_where_one_stands(file: Path) -> None:
    """`out` is no path from the YAML's folder, as those of data are."""
    out = load(class_of(file), file).out  # type: ignore[attr-defined]
    assert not out.is_absolute()
    assert ".." not in out.parts


def test_lora_recipe_has_the_published_rank_and_rates() -> None:
    stage = load(RunConfig, EXAMPLES / "llava-1.5-lora.yaml").stages[1]
    lora = stage.train["llm"]
    assert (lora.r, lora.alpha, lora.lr) == (128, 256, 2e-4)  # type: ignore[attr-defined]
    assert stage.train["connector"].lr == 2e-5  # type: ignore[attr-defined]


def test_the_demo_is_evaluated_on_what_it_trained() -> None:
    """Both files agree about the folders, wherever the repository is."""
    evaluation = load(EvaluationConfig, EXAMPLES / "demo" / "evaluate.yaml")
    run = load(RunConfig, EXAMPLES / "demo" / "demo.yaml")
    assert evaluation.models["sighted"].resolve() == (EXAMPLES.parent / run.out).resolve()


def test_the_example_with_an_endpoint_asks_for_the_published_mix():
    config = load(SynthesisConfig, EXAMPLES / "synthesize.yaml")
    assert config.samples == 158_000
    weights = {recipe.owner.name: recipe.weight for recipe in config.recipes}
    assert weights == {"conversation": 58, "detail": 23, "reasoning": 77}
