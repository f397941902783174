"""Options that several verbs have, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PLACE=VALUE",
        help="Change one setting: stages.0.optimizer.lr=1e-3. May be given often.",
    ),
]
Model = Annotated[Path, typer.Option(help="A run's folder, or a checkpoint's.", show_default=False)]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")]
Temperature = Annotated[
    float, typer.Option(min=0, help="0 takes the likeliest token; above it draws.")
]
TopP = Annotated[
    float, typer.Option(min=0, max=1, help="Draw from the likeliest that make up this share.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of the draws.")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", show_default="the fastest")
]
