"""The command line: one file per verb, each a thin coat over the Python API.

Exit codes: 0 done, 1 the work failed, 2 the input is wrong, 130 and 143 interrupted.
"""

from __future__ import annotations

from typing import Annotated

import typer

from isthmus.cli.verbs import Verbs

app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line of this process."""
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        from isthmus import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def isthmus(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show it and leave."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error arose (or ISTHMUS_DEBUG=1).")
    ] = False,
) -> None:
    """Join any vision encoder to any language model: train, talk, swap parts."""
