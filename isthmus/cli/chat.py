"""`isthmus chat`: talk with a model about images, answers appearing as they are written."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.console import console
from isthmus.cli.options import Device, MaxNewTokens, Model, Seed, Temperature, TopP
from isthmus.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from isthmus.core.assistant import Assistant

HELP = {
    "/image FILE": "show a picture with the next question; several may be shown",
    "/reset": "forget the conversation and its pictures",
    "/help": "this list",
    "/quit": "leave (or Ctrl-D; Ctrl-C stops an answer)",
}


def chat(
    model: Model,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="A picture to talk about; may be given often.", show_default=False),
    ] = None,
    system: Annotated[
        str, typer.Option(help="What the model is told first, instead of its template's words.")
    ] = "",
    max_new_tokens: MaxNewTokens = 512,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = 0,
    device: Device = None,
) -> None:
    """Talk with a model about images, in the terminal or through a pipe."""
    from isthmus.core import checkpoint
    from isthmus.core.assistant import assistant_of

    pictures = list(image or ())
    for path in pictures:
        _look(path)
    opened = checkpoint.load(model)
    screen = console()
    for line in opened.skipped:
        screen.print(f"note: skipped a checkpoint: {line}", markup=False, soft_wrap=True)
    settings = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
    }
    talk = Talk(assistant_of(opened, device), screen, system, pictures, settings)
    if sys.stdin.isatty():
        screen.print("Ask something. " + "  ".join(HELP), markup=False)
    for line in _lines():
        if not talk.hear(line.strip()):
            break


class Talk:
    """One conversation: what was said, and the pictures that go with the next question."""

    def __init__(
        self,
        speaker: Assistant,
        screen: Console,
        system: str,
        pictures: list[Path],
        settings: Mapping[str, Any],
    ) -> None:
        self.speaker = speaker
        self.screen = screen
        self.settings = settings
        self.opening = [{"role": "system", "content": system}] if system else []
        self.messages: list[dict[str, Any]] = [*self.opening]
        self.pictures = pictures

    def hear(self, line: str) -> bool:
        """Do what a line says; False when it says to leave. Wrong input gets a message."""
        word, _, rest = line.partition(" ")
        try:
            if word == "/image":
                self._show(rest.strip())
            elif word == "/reset":
                self.messages, self.pictures = [*self.opening], []
                self.screen.print("The conversation begins anew.")
            elif word == "/help":
                for command, what in HELP.items():
                    self.screen.print(f"{command:12} {what}", markup=False)
            elif word == "/quit":
                return False
            elif word.startswith("/"):
                known = [command.split()[0] for command in HELP]
                near = did_you_mean(word, known)
                raise InputError(f"there is no {word}.{near} Known: {', '.join(known)}")
            elif line:
                self._answer(line)
        except InputError as error:
            self.screen.print(f"error: {error}", markup=False, soft_wrap=True)
        return True

    def _show(self, name: str) -> None:
        if not name:
            raise InputError("/image needs a file: /image photo.jpg")
        path = Path(os.path.expanduser(name.strip("'\"")))
        _look(path)
        self.pictures.append(path)
        self.screen.print(f"{path} goes with your next question.", markup=False, soft_wrap=True)

    def _answer(self, question: str) -> None:
        shown = [{"type": "image", "image": path} for path in self.pictures]
        asked = {"role": "user", "content": [*shown, {"type": "text", "text": question}]}
        pieces: list[str] = []
        try:
            for piece in self.speaker.stream([*self.messages, asked], **self.settings):
                pieces.append(piece)
                self._print(piece)
        except KeyboardInterrupt:
            self._print(" (stopped)")
            if not pieces:
                return
        finally:
            self._print("\n")
        self.messages += [asked, {"role": "assistant", "content": "".join(pieces)}]
        self.pictures = []

    def _print(self, text: str) -> None:
        """As it is, except that a model's words cannot steer the terminal."""
        safe = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")
        self.screen.out(safe, end="")


def _look(path: Path) -> None:
    from isthmus.core.data.images import open_picture

    open_picture(path)


def _lines() -> Iterator[str]:
    """What is typed, or comes through a pipe, until its end."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with suppress(ImportError):
        # Arrow keys and history, where the platform has them.
        import readline  # noqa: F401
    while True:
        try:
            yield input("> ")
        except EOFError:
            typer.echo()
            return
