"""What `isthmus train` says to bad input, and what it leaves in the folder."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner, Result

from isthmus.cli import app
from tests.cli.spoilt import Spoil

CLAIMED = (".lock", "config.yaml")
"""What the folder of a run holds from its first moment on."""


@dataclass(frozen=True)
class Case:
    """What is wrong, and all of the message; DIR is the folder, and `...` stands for more.

    `left` is what the run's folder then holds; nothing: there is none. What can be seen before
    a picture is opened is seen before anything is written.
    """

    what: str
    spoil: Spoil
    message: str
    left: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """What a command that got a case ended with, said, added to the folder and changed in it."""

    exit_code: int
    said: str
    output: str
    added: list[str]
    changed: list[str]


def refused(case: Case, folder: Path) -> Refusal:
    """What `isthmus train` does with this case, in this process."""
    case.spoil(folder)
    before = contents(folder)
    result = train(*case.arguments)
    after = contents(folder)
    return Refusal(
        result.exit_code,
        result.stderr,
        result.output,
        sorted(after.keys() - before.keys()),
        [path for path in before if after.get(path) != before[path]],
    )


def refused_in_a_shell(case: Case, folder: Path) -> tuple[int, str]:
    """Its exit code and what it says on stderr in a process of its own."""
    case.spoil(folder)
    command = [sys.executable, "-m", "isthmus", "train", "run.yaml"]
    ran = subprocess.run(command, capture_output=True, text=True)
    return ran.returncode, ran.stderr


def train(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", "run.yaml", *arguments])


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file, by its path in the folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def only(message: str, folder: Path) -> re.Pattern[str]:
    """What stderr is when it got this message and nothing else."""
    told = re.escape(f"error: {message}\n").replace(re.escape("..."), "[^\n]+")
    return re.compile(told.replace("DIR", re.escape(str(folder))))
