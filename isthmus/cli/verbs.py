"""The verbs: which there are, and the group that loads one only when it is called.

`--help` shows what this table and the metadata of installed distributions say, and imports
neither a verb nor a plugin.
"""

from __future__ import annotations

import traceback
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from isthmus.errors import IsthmusError, PartError, Problem, did_you_mean
from isthmus.registry.entry_points import Offer, own_version, select, switched_on
from isthmus.registry.hookspecs import COMMANDS

VERBS = {
    "train": ("isthmus.cli.train:train", "Train a model as one YAML file says."),
    "synthesize": ("isthmus.cli.synthesize:app", "Make instruction data from captions and boxes."),
    "generate": ("isthmus.cli.generate:generate", "Answer a file of questions about images."),
    "chat": ("isthmus.cli.chat:chat", "Talk with a model about an image, in the terminal."),
    "evaluate": ("isthmus.cli.evaluate:evaluate", "Ask models benchmarks, and score the answers."),
    "report": ("isthmus.cli.report:report", "Make one HTML of evaluations, with their samples."),
    "score": ("isthmus.cli.score:score", "Score answers, or a judge's reviews, of a benchmark."),
    "plugins": ("isthmus.cli.plugins:app", "List every installed part and what is wrong."),
    "config": ("isthmus.cli.config:app", "Check a YAML file, or print its JSON Schema."),
}
"""Verb -> its function or typer app, and its line in `isthmus --help`."""


def offers() -> tuple[dict[str, list[Offer]], list[Problem]]:
    """Verbs by name, ours first, and what is wrong with those of plugins."""
    ours = (Offer(name, value, "isthmus", own_version()) for name, (value, _) in VERBS.items())
    found = {offer.name: [offer] for offer in ours}
    strangers, problems = select(COMMANDS)
    for offer in strangers:
        others = found.setdefault(offer.name, [])
        if offer.name in VERBS:
            problems.append(Problem(offer.origin, f"the verb {offer.name!r} is built in"))
            continue
        if others:
            problems.append(Problem(offer.origin, f"its verb is also in {others[0].origin}"))
        others.append(offer)
    return found, problems


class Verbs(TyperGroup):
    """Loads a verb when it is called, and turns errors into exit codes."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names, ours first."""
        return list(offers()[0])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in that knows the verb's line of help."""
        found = offers()[0].get(cmd_name)
        if not found:
            return None
        line = VERBS[cmd_name][1] if cmd_name in VERBS else f"From {found[0].distribution}."
        return TyperCommand(name=cmd_name, help=line)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb itself, imported now."""
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            ctx.fail(f"There is no verb {args[0]!r}.{did_you_mean(args[0], known)}")
        name, _, rest = super().resolve_command(ctx, args)
        return name, _load(str(name)), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; an error of the tree becomes its message and its exit code."""
        try:
            return super().invoke(ctx)
        except IsthmusError as error:
            if ctx.params.get("debug") or switched_on("ISTHMUS_DEBUG"):
                traceback.print_exception(error)
            else:
                typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
                typer.echo(str(error), err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None


def _load(name: str) -> Any:
    found = offers()[0][name]
    if len(found) > 1:
        both = " and ".join(offer.origin for offer in found)
        raise PartError(f"the verb {name!r} is offered by {both}; uninstall one of them")
    try:
        verb = found[0].load()
        app = typer.Typer(add_completion=False)
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=name)
        else:
            app.command(name)(verb)
        return get_group(app).commands[name]
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {error}"
        raise PartError(f"the verb {name!r} of {found[0].origin} is broken: {why}") from error
