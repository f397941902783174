"""`isthmus synthesize capfilt`: captions for pictures with noisy ones, and both kinds filtered."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.console import console, table
from isthmus.cli.options import Device, Overrides
from isthmus.cli.progress import progress

if TYPE_CHECKING:
    from isthmus.synthesize.capfilt.run import Outcome

NAMES = {"web": "came with the pictures", "synthetic": "written"}


def capfilt(
    config: Annotated[Path, typer.Argument(help="CapFilt, as YAML.", show_default=False)],
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the dataset, instead of the YAML's `out`.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Look at part I of N alone; then once without."),
    ] = None,
    device: Device = None,
) -> None:
    """Write captions for pictures with noisy ones, and keep what a filter lets pass.

    The same command goes on where one was interrupted, and takes in what shards have done.
    """
    from isthmus.core.config import load
    from isthmus.synthesize.capfilt import CapFiltConfig
    from isthmus.synthesize.capfilt import capfilt as run
    from isthmus.synthesize.plan import Shard

    settings = load(CapFiltConfig, config, overrides or [])
    if out:
        settings = settings.model_copy(update={"out": out})
    part = Shard.parse(shard) if shard else None
    screen = console()
    bar = partial(progress, screen, unit="pictures")
    outcome = run(settings, shard=part, device=device, bar=bar)
    for note in outcome.notes:
        screen.print(f"note: {note}", markup=False, soft_wrap=True)
    if part and not part.whole:
        screen.print(f"journal: {outcome.folder}", markup=False, soft_wrap=True)
        screen.print("when all parts are there: the same command without --shard")
        return
    _say(outcome)


def _say(outcome: Outcome) -> None:
    """What came of it: texts of both kinds, reasons, where it is."""
    from isthmus.synthesize.folder import REPORT

    screen, found = console(), outcome.summary
    rows = []
    for kind, name in NAMES.items():
        kept, rejected = found["kept"][kind], found["rejected"][kind]
        total = kept + sum(rejected.values())
        mean = found["scores"][kind]["mean"]
        rows.append(
            (
                name,
                f"{total:,}",
                f"{kept:,}",
                f"{kept / total:.1%}" if total else "-",
                "-" if mean is None else f"{mean:.3f}",
                ", ".join(f"{n:,} {reason}" for reason, n in rejected.items()),
            )
        )
    columns = ("captions", "seen", "kept", "share", "mean score", "rejected")
    screen.print(table(columns, rows))
    if not any(found["kept"].values()):
        screen.print(
            f"nothing was kept. Another `filter.threshold` than {found['threshold']:g} costs no "
            "second look"
        )
    screen.print(f"samples: {outcome.samples}", markup=False, soft_wrap=True)
    screen.print(f"report:  {outcome.folder / REPORT}", markup=False, soft_wrap=True)
