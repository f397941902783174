"""The options of `isthmus score`, written out here so that the verb reads as what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Files = list[Path] | None

Name = Annotated[str, typer.Argument(help="The benchmark.", show_default=False)]
More = Annotated[
    Files, typer.Argument(metavar="[FILE]...", help="More files of the option before.")
]
Answers = Annotated[Path | None, typer.Option(help="A model's answers.", show_default=False)]
Reviews = Annotated[
    Files,
    typer.Option(
        "--reviews", "--grades", help="A judge's; several are several runs.", show_default=False
    ),
]
Data = Annotated[Path | None, typer.Option(help="The benchmark's questions.", show_default=False)]
Split = Annotated[str | None, typer.Option(help="Which of its questions.", show_default=False)]
Second = Annotated[
    Files, typer.Option(help="Answers to compare with, or to combine.", show_default=False)
]
Ensemble = Annotated[
    str | None, typer.Option(help="complement, majority or judge.", show_default=False)
]
Verdicts = Annotated[
    Path | None,
    typer.Option(help="A judge's final answers, for --ensemble judge.", show_default=False),
]
Judge = Annotated[
    str | None,
    typer.Option(
        help="Who reads the answers: a YAML of one chat model, or a list of them; or the YAML "
        "itself, as {type: openai, ...}.",
        show_default=False,
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        help="A chat model, likewise, that writes reference answers to --out from --context.",
        show_default=False,
    ),
]
Reference = Annotated[
    Path | None, typer.Option(help="Answers that a judge compares with.", show_default=False)
]
Context = Annotated[
    Path | None, typer.Option(help="What a judge is told of the pictures.", show_default=False)
]
RuleFile = Annotated[
    Path | None, typer.Option(help="What a judge is to look at, as rule.json.", show_default=False)
]
Swap = Annotated[
    bool, typer.Option("--swap", help="Ask with both orders of the answers, and take the mean.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="Where reviews go.", show_default="runs/judged/NAME/ANSWERS-reviews.jsonl"),
]
JournalFile = Annotated[
    Path | None,
    typer.Option(help="What was asked and answered.", show_default="runs/judged/journal.sqlite"),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Ask nobody: what the journal has not is missing.")
]
MaxCost = Annotated[
    float | None,
    typer.Option(min=0.0, help="US dollars that the journal may come to.", show_default=False),
]
MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="Tokens that it may come to.", show_default=False)
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Any field of the benchmark."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
