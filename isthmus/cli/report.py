"""`isthmus report`: one HTML file of one evaluation, or of several side by side."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.console import console


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of `isthmus evaluate`.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Its title.")] = "",
    published: Annotated[
        list[Path] | None,
        typer.Option(help="More published numbers, as YAML, to set beside.", show_default=False),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="Samples of a benchmark that can be looked at.")
    ] = 5000,
) -> None:
    """Make one self-contained HTML of evaluations: scores, charts, samples."""
    from isthmus.evaluate.merging import read_evaluations
    from isthmus.evaluate.published import published as rows_of
    from isthmus.evaluate.report import write_report

    rows = rows_of(published or ())
    read = read_evaluations(folders)
    say = partial(console().print, markup=False, soft_wrap=True)
    for note in read.notes:
        say(f"note: {note}")
    file = write_report(read.sections, out, title=title or read.title, rows=rows, samples=samples)
    say(f"report: {file}")
