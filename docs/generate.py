"""Write docs/reference.md: every field of a run, every built-in part, every hook.

    python docs/generate.py            write it
    python docs/generate.py --check    fail when it lags behind the code

Tables are read off the code, so they cannot say anything else than it does.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isthmus.cli.plugins import type_words
from isthmus.core.chat import AskConfig
from isthmus.core.contracts import ChatParameters, Config, runtime_arguments
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.settings import Settings
from isthmus.core.train import config as run
from isthmus.core.train.evaluate_config import EvaluateConfig
from isthmus.evaluate.config import EvaluationConfig
from isthmus.registry import get_registry, hookspecs
from isthmus.synthesize import config as synthesis
from isthmus.synthesize.capfilt import config as filtering

FILE = Path(__file__).with_name("reference.md")
SECTIONS = (
    (run.RunConfig, "The whole file"),
    (ModelConfig, "`model:`"),
    (run.StageConfig, "One of `stages:`"),
    (run.BatchConfig, "`batch:`"),
    (run.OptimizerConfig, "`optimizer:`"),
    (run.ScheduleConfig, "`schedule:`"),
    (run.ValidationConfig, "`validation:`"),
    (run.FeaturesConfig, "`features:`"),
    (EvaluateConfig, "`evaluate:`"),
)
EVALUATION = (
    (EvaluationConfig, "The whole file of `isthmus evaluate`"),
    (Settings, "`generation:`"),
)

SYNTHESIS = (
    (synthesis.SynthesisConfig, "The whole file of `isthmus synthesize`"),
    (synthesis.ScenesConfig, "`scenes:`"),
    (synthesis.ColumnsConfig, "`scenes.columns:`"),
    (ChatParameters, "`parameters:`"),
    (AskConfig, "`ask:`"),
    (synthesis.QualityConfig, "`quality:`"),
)

CAPFILT = (
    (filtering.CapFiltConfig, "The whole file of `isthmus synthesize capfilt`"),
    (filtering.CaptionerConfig, "`captioner:`"),
    (filtering.FilterConfig, "`filter:`"),
)


def reference() -> str:
    """The whole page."""
    lines = ["# Reference", "", "Made by `python docs/generate.py`; do not edit.", ""]
    lines += ["## A run, field by field", ""]
    for config, title in SECTIONS:
        lines += [f"### {title}", "", summary(config), "", *fields(config), ""]
    lines += ["## An evaluation, field by field", ""]
    for config, title in EVALUATION:
        lines += [f"### {title}", "", summary(config), "", *fields(config), ""]
    lines += ["## A synthesis, field by field", ""]
    for config, title in SYNTHESIS:
        lines += [f"### {title}", "", summary(config), "", *fields(config), ""]
    lines += ["## CapFilt, field by field", ""]
    for config, title in CAPFILT:
        lines += [f"### {title}", "", summary(config), "", *fields(config), ""]
    lines += ["## Built-in parts", ""]
    for entry in get_registry().entries():
        if entry.builtin:
            lines += part(entry)
    lines += ["## Hooks", "", *hooks()]
    return "\n".join(lines).rstrip() + "\n"


def part(entry: Any) -> Iterator[str]:
    yield from (f"### {entry.kind} `{entry.name}`", "", summary(entry.part), "")
    if arguments := runtime_arguments(entry.part):
        yield from (f"Built with: {', '.join(f'`{name}`' for name in arguments)}.", "")
    yield from (*fields(entry.part.Config), "")


def summary(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def fields(config: type[Config]) -> Iterator[str]:
    """A table of a Config's fields, or a line that says there are none."""
    if not config.model_fields:
        yield "No fields."
        return
    yield "| field | type | default | what |"
    yield "|---|---|---|---|"
    for name, field in config.model_fields.items():
        default = "required" if field.is_required() else f"`{shown(field.get_default())}`"
        what = " ".join((field.description or "").split())
        kind = type_words(field.annotation).replace("|", "\\|")
        yield f"| `{name}` | {kind} | {default} | {what} |"


def shown(value: Any) -> str:
    """A default as YAML has it."""
    if isinstance(value, Config):
        return "{" + ", ".join(f"{k}: {shown(v)}" for k, v in value) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(shown, value)) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value).replace("\n", "\\n")


def hooks() -> Iterator[str]:
    """Every extension point with its signature and what it is for."""
    for name in (*hookspecs.PART_HOOKS.values(), *hookspecs.EVENT_HOOKS):
        hook = getattr(hookspecs, name)
        names = ", ".join(inspect.signature(hook).parameters)
        yield from (f"### `{name}({names})`", "", inspect.cleandoc(hook.__doc__ or ""), "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        FILE.write_text(reference())
    elif FILE.read_text() != reference():
        sys.exit("docs/reference.md lags behind the code; run `python docs/generate.py`")


if __name__ == "__main__":
    main()
