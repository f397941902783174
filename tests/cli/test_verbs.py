"""The shell: light help, verbs loaded when called, exit codes instead of tracebacks."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli import app
from tests.site_folder import Site

VERB = '''
import typer
from isthmus.errors import DataError, Interrupted


def greet(name: str, fail: bool = False, crash: bool = False, stop: bool = False) -> None:
    """Greet someone."""
    if fail:
        raise DataError("record 3 is empty")
    if crash:
        raise KeyboardInterrupt
    if stop:
        raise Interrupted("saved", 15)
    print(f"hello {name}")


app = typer.Typer()


@app.command()
def one() -> None:
    """The first."""
    print("one!")


@app.command()
def two() -> None:
    """The second."""
'''


@pytest.fixture
def greeter(site: Site) -> Site:
    """A plugin with two verbs."""
    site.install(
        "isthmus-greeter",
        VERB,
        group="isthmus.commands",
        points={"greet": "isthmus_greeter:greet", "count": "isthmus_greeter:app"},
    )
    return site


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_help_is_fast_and_imports_no_torch() -> None:
    code = (
        "import sys, isthmus.cli\n"
        "try: isthmus.cli.main()\n"
        "finally: print([m for m in ('torch', 'pydantic', 'transformers') if m in sys.modules])"
    )
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        shown = subprocess.run(
            [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
        ).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time, since other work on the machine stretches the clock's.
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5
    assert shown.splitlines()[-1] == "[]"
    for verb in ("train", "generate", "chat", "plugins", "config"):
        assert f" {verb} " in shown


def test_help_lists_a_plugins_verbs_and_imports_none(greeter: Site) -> None:
    result = run("--help")
    assert "greet" in result.output
    assert "From isthmus-greeter." in result.output
    assert "isthmus_greeter" not in sys.modules


def test_plugins_verb_runs_when_called(greeter: Site) -> None:
    assert run("greet", "Ada").output == "hello Ada\n"
    assert "Greet someone." in run("greet", "--help").output
    assert run("count", "one").output == "one!\n"


def test_switches_hold_for_verbs_too(greeter: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_DISABLE_PLUGIN_AUTOLOAD", "1")
    assert run("greet", "Ada").exit_code == 2


def test_errors_become_their_message_and_exit_code(greeter: Site) -> None:
    failed = run("greet", "Ada", "--fail")
    assert (failed.exit_code, failed.stderr) == (2, "error: record 3 is empty\n")
    assert run("greet", "Ada", "--crash").exit_code == 130
    assert run("greet", "Ada", "--stop").exit_code == 143


def test_debug_shows_where_an_error_arose(greeter: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" not in run("greet", "Ada", "--fail").stderr
    shown = run("--debug", "greet", "Ada", "--fail")
    assert "Traceback" in shown.stderr
    assert shown.exit_code == 2
    monkeypatch.setenv("ISTHMUS_DEBUG", "1")
    assert "Traceback" in run("greet", "Ada", "--fail").stderr


def test_unknown_verb_is_told_the_nearest() -> None:
    result = run("trian")
    assert result.exit_code == 2
    assert "There is no verb 'trian'. Did you mean 'train'?" in result.stderr


def test_broken_verb_is_named_and_the_others_run(greeter: Site) -> None:
    points = {"oops": "isthmus_broken:x"}
    greeter.install("isthmus-broken", "import nonsense", group="isthmus.commands", points=points)
    result = run("oops")
    assert result.exit_code == 2
    assert "the verb 'oops' of isthmus-broken 1.0" in result.stderr
    assert "No module named 'nonsense'" in result.stderr
    assert run("greet", "Ada").exit_code == 0


def test_plugins_verb_cannot_shadow_ours_nor_another_plugins(greeter: Site) -> None:
    points = {"greet": "isthmus_copy:greet", "config": "isthmus_copy:greet"}
    greeter.install("isthmus-copy", VERB, group="isthmus.commands", points=points)
    clash = run("greet", "Ada")
    assert clash.exit_code == 2
    assert "isthmus-copy 1.0" in clash.stderr
    assert "isthmus-greeter 1.0" in clash.stderr
    assert "JSON Schema" in run("config", "--help").output


def test_version_is_printed() -> None:
    from importlib.metadata import version

    assert run("--version").output == f"{version('isthmus')}\n"


def test_module_runs_as_the_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "isthmus", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert shown.stdout.count(".") >= 2
