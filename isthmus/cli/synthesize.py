"""`isthmus synthesize`: instruction data from captions and boxes, and what to do with it then."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from isthmus.cli.capfilt import capfilt
from isthmus.cli.options import Overrides

if TYPE_CHECKING:
    from isthmus.synthesize.run import Outcome

RUN = "run"


class RunByDefault(TyperGroup):
    """`isthmus synthesize FILE.yaml` is `isthmus synthesize run FILE.yaml`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command named, or `run` where a YAML is."""
        looks_like_file = args[0].endswith((".yaml", ".yml")) or Path(args[0]).is_file()
        if args[0] not in self.commands and (looks_like_file or args[0].startswith("-")):
            args = [RUN, *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=RunByDefault,
    no_args_is_help=True,
    help="Make instruction data from captions and boxes: isthmus synthesize CONFIG.yaml",
)

Folder = Annotated[Path, typer.Argument(help="Folder of a synthesis.", show_default=False)]


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="The synthesis, as YAML.", show_default=False)],
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the synthesis, instead of the YAML's `out`.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Ask only for part I of N; merge them later.")
    ] = None,
) -> None:
    """Ask for what is not in the journal yet, then make dataset and report."""
    from isthmus.cli.asking_display import asking_display
    from isthmus.cli.console import console
    from isthmus.core.config import load
    from isthmus.synthesize import Shard, SynthesisConfig, synthesize

    settings = load(SynthesisConfig, config, overrides or [])
    if out:
        settings = settings.model_copy(update={"out": out})
    part = Shard.parse(shard) if shard else None
    screen = console()
    with asking_display() as observer:
        outcome = synthesize(settings, shard=part, watch=partial(observer, "replies"))
    if part and not part.whole:
        screen.print(f"journal: {outcome.folder}", markup=False, soft_wrap=True)
        screen.print(f"when all parts are there: isthmus synthesize merge {settings.out}")
        return
    _say(outcome)


app.command()(capfilt)


@app.command()
def status(folder: Folder) -> None:
    """Say how far it has come, and what it has cost. Asks nobody."""
    from isthmus.cli.console import console, table
    from isthmus.core.chat import Journal
    from isthmus.synthesize.folder import JOURNAL, SHARDS, load_config
    from isthmus.synthesize.plan import Plan
    from isthmus.synthesize.scenes import open_scenes

    config = load_config(folder)
    plan = Plan(config, open_scenes(config.scenes))
    rows = []
    for file in (folder / JOURNAL, *sorted(folder.glob(f"{SHARDS}/{JOURNAL}"))):
        if file.exists():
            with Journal(file, read_only=True) as journal:
                spend, endings = journal.spend(), journal.endings()
            failed = sum(count for ending, count in endings.items() if ending != "answered")
            answered = f"{endings.get('answered', 0):,} of {plan.count():,}"
            name = str(file.parent.relative_to(folder)).replace(".", "all")
            rows.append((name, answered, f"{failed:,}", f"{spend.tokens:,}", f"{spend.cost:.4f}"))
    columns = ("part", "replies", "failed calls", "tokens", "US dollars")
    console().print(table(columns, rows))


@app.command()
def report(folder: Folder) -> None:
    """Make dataset and report again from the journal: for nothing, and by the rules of now."""
    from isthmus.synthesize.folder import load_config
    from isthmus.synthesize.run import derive

    _say(derive(load_config(folder)))


@app.command()
def verify(folder: Folder) -> None:
    """Prove that every sample is what journal, scenes and recipes make."""
    from isthmus.synthesize.verify import verify

    typer.echo(f"{verify(folder):,} samples are what their provenance says")


@app.command()
def merge(folder: Folder) -> None:
    """Take in the journals of all shards, then make dataset and report."""
    from isthmus.synthesize.run import merge

    _say(merge(folder))


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
    format: Annotated[str, typer.Option(help="llava, messages or parquet.")] = "llava",
) -> None:
    """Write the samples in the form that a trainer reads."""
    from isthmus.synthesize.export import export

    typer.echo(f"{export(folder, format, out):,} samples: {out}")


def _say(outcome: Outcome) -> None:
    """What came of it: recipes, reasons, where it is."""
    from isthmus.cli.console import console, table
    from isthmus.synthesize.folder import PAGE, REPORT

    screen = console()
    for note in outcome.notes:
        screen.print(f"note: {note}", markup=False, soft_wrap=True)
    found = json.loads((outcome.folder / REPORT).read_text())
    rows = [
        (
            kind,
            f"{found['kept_by_recipe'].get(kind, 0):,}",
            ", ".join(f"{n} {r}" for r, n in found["rejected_by_recipe"].get(kind, {}).items()),
        )
        for kind in found["asked"]
    ]
    screen.print(table(("recipe", "samples", "rejected"), rows))
    screen.print(f"samples: {outcome.samples}", markup=False, soft_wrap=True)
    screen.print(f"report:  {outcome.folder / PAGE}", markup=False, soft_wrap=True)
