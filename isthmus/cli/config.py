"""`isthmus config`: check a YAML file before anything is loaded, or print its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.console import console, table
from isthmus.cli.options import Overrides

if TYPE_CHECKING:
    from isthmus.core.train.config import RunConfig, StageConfig

app = typer.Typer(no_args_is_help=True, help="Check a YAML file, or print its JSON Schema.")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The YAML file.")],
    overrides: Overrides = None,
) -> None:
    """Name every problem of a YAML file, or sum up the run or synthesis that it describes."""
    from isthmus.core.config import load, read

    if read(file).values.keys() & {"scenes", "teacher"}:
        _check_synthesis(file, overrides or ())
        return
    from isthmus.core.train.config import RunConfig

    run = load(RunConfig, file, overrides or ())
    out = console()
    out.print(f"{file}: no problems\n", markup=False)
    out.print(table(("part", "type", "weights"), _parts(run)))
    out.print()
    columns = ("stage", "trains", "data", "template", "objective", "batch", "length")
    out.print(table(columns, (_stage(run, stage) for stage in run.stages)))
    if absent := [*_absent(run.model, "model"), *_absent(run.stages, "stages")]:
        out.print("\nnot here yet, and `isthmus train` needs it:")
        for line in absent:
            out.print(f"  {line}", markup=False, soft_wrap=True)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a run's YAML, with every installed part in it."""
    from isthmus.core.config import schema
    from isthmus.core.train.config import RunConfig

    typer.echo(json.dumps(schema(RunConfig), indent=2))


def _check_synthesis(file: Path, overrides: Sequence[str]) -> None:
    from isthmus.core.config import load
    from isthmus.synthesize import SynthesisConfig

    made = load(SynthesisConfig, file, overrides)
    out = console()
    out.print(f"{file}: no problems\n", markup=False)
    rows = [(recipe.owner.name, f"{recipe.weight:g}") for recipe in made.recipes]
    out.print(table(("recipe", "weight"), rows))
    out.print(f"\nteacher: {made.teacher.owner.name}", markup=False)
    out.print(f"scenes: {made.scenes.path}", markup=False, soft_wrap=True)
    named = [("scenes.path", made.scenes.path), ("scenes.images", made.scenes.images)]
    for place, path in named:
        if path is not None and not path.exists():
            out.print(f"not here yet: {place}: {path}", markup=False, soft_wrap=True)


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
