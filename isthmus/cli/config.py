"""`isthmus config`: check a YAML file before anything is loaded, or print its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.console import console, table
from isthmus.cli.options import Overrides

if TYPE_CHECKING:
    from isthmus.core.train.config import RunConfig, StageConfig
    from isthmus.evaluate.config import EvaluationConfig
    from isthmus.synthesize import SynthesisConfig
    from isthmus.synthesize.capfilt import CapFiltConfig

app = typer.Typer(no_args_is_help=True, help="Check a YAML file, or print its JSON Schema.")


class Kind(StrEnum):
    """What a YAML file may be of."""

    run = "run"
    evaluation = "evaluation"
    synthesis = "synthesis"
    capfilt = "capfilt"


VERB = {
    Kind.run: "train",
    Kind.evaluation: "evaluate",
    Kind.synthesis: "synthesize",
    Kind.capfilt: "synthesize capfilt",
}
KEYS = {
    Kind.evaluation: {"models", "benchmarks"},
    Kind.synthesis: {"scenes", "teacher"},
    Kind.capfilt: {"captioner", "filter"},
}
"""By which a file is told from one of a run."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The YAML file.")],
    overrides: Overrides = None,
) -> None:
    """Name every problem of a YAML file, or sum up the run, evaluation, synthesis or CapFilt
    that it describes."""
    from isthmus.core.config import override, read, typed

    document = read(file)
    given = document.values.keys()
    kind = next((kind for kind, keys in KEYS.items() if keys & given), Kind.run)
    cls = _class(kind)
    found = typed(cls, override(document, overrides or (), cls))
    out = console()
    out.print(f"{file}: no problems\n", markup=False)
    shows: dict[Kind, Callable[[Any], Iterator[Any]]] = {
        Kind.run: _run,
        Kind.evaluation: _evaluation,
        Kind.synthesis: _synthesis,
        Kind.capfilt: _capfilt,
    }
    for shown in shows[kind](found):
        out.print(shown)
    needed = ((name, value) for name, value in found if name != "out")
    if absent := [line for name, value in needed for line in _absent(value, name)]:
        out.print(f"\nnot here yet, and `isthmus {VERB[kind]}` needs it:")
        for line in absent:
            out.print(f"  {line}", markup=False, soft_wrap=True)


@app.command()
def schema(
    kind: Annotated[
        Kind, typer.Argument(help="Of a run's, evaluation's, synthesis' or CapFilt's YAML.")
    ] = Kind.run,
) -> None:
    """Print the JSON Schema of a YAML, with every installed part in it."""
    from isthmus.core.config import schema

    typer.echo(json.dumps(schema(_class(kind)), indent=2))


def _class(kind: Kind) -> Any:
    from isthmus.core.train.config import RunConfig
    from isthmus.evaluate.config import EvaluationConfig
    from isthmus.synthesize import SynthesisConfig
    from isthmus.synthesize.capfilt import CapFiltConfig

    classes = {
        Kind.run: RunConfig,
        Kind.evaluation: EvaluationConfig,
        Kind.synthesis: SynthesisConfig,
        Kind.capfilt: CapFiltConfig,
    }
    return classes[kind]


def _run(run: RunConfig) -> Iterator[Any]:
    columns = ("stage", "trains", "data", "template", "objective", "batch", "length")
    yield table(("part", "type", "weights"), _parts(run))
    yield ""
    yield table(columns, (_stage(run, stage) for stage in run.stages))


def _evaluation(evaluation: EvaluationConfig) -> Iterator[Any]:
    yield table(("model", "folder"), ((n, str(f)) for n, f in evaluation.models.items()))
    yield ""
    benchmarks = evaluation.benchmarks.items()
    yield table(("benchmark", "type"), ((name, each.owner.name) for name, each in benchmarks))


def _synthesis(made: SynthesisConfig) -> Iterator[Any]:
    yield table(("recipe", "weight"), ((r.owner.name, f"{r.weight:g}") for r in made.recipes))
    yield ""
    yield f"teacher: {made.teacher.owner.name}"


def _capfilt(made: CapFiltConfig) -> Iterator[Any]:
    sources = ", ".join(source.owner.name for source in made.data)
    rows = (("captioner", str(made.captioner.model)), ("filter", str(made.filter.model)))
    yield table(("model", "folder"), rows)
    yield ""
    yield f"data: {sources}; texts are kept from {made.filter.threshold:g} on"


def _parts(run: RunConfig) -> list[tuple[str, str, str]]:
    return [
        (name, config.owner.name, config.pretrained or "drawn anew")
        for name, config in run.model.parts()
    ]


def _absent(setting: Any, where: str) -> Iterator[str]:
    """Files and folders that a setting names and that this machine does not have."""
    from isthmus.core.contracts import Config, PartConfig
    from isthmus.core.train.config import FeaturesConfig

    if isinstance(setting, FeaturesConfig):
        return  # its folder is made
    if isinstance(setting, Path) and not setting.exists():
        yield f"{where}: {setting}"
    elif isinstance(setting, Config):
        weights = setting.pretrained if isinstance(setting, PartConfig) else None
        if (
            weights
            and any(value == weights for _, value in setting)  # not that of a part inside it
            and weights.startswith((".", "/", "~"))
            and not Path(weights).expanduser().exists()
        ):
            yield f"{where}: {weights}"
        for name, inner in setting:
            yield from _absent(inner, f"{where}.{name}")
    elif isinstance(setting, tuple):
        for index, inner in enumerate(setting):
            yield from _absent(inner, f"{where}[{index}]")
    elif isinstance(setting, dict):
        for name, inner in setting.items():
            yield from _absent(inner, f"{where}.{name}")


def _stage(run: RunConfig, stage: StageConfig) -> tuple[str, ...]:
    template = stage.template or run.template
    batch = stage.batch
    return (
        stage.name,
        ", ".join(f"{part}: {tuner.owner.name}" for part, tuner in stage.train.items()),
        ", ".join(source.owner.name for source in stage.data),
        template.owner.name if template else "none",
        stage.objective.owner.name if stage.objective else "lm",
        f"samples: {batch.samples}" if batch.samples else f"tokens: {batch.tokens}",
        f"steps: {stage.steps}" if stage.steps else f"epochs: {stage.epochs:g}",
    )
