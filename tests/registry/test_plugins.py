"""Discovery: a stranger's plugin comes in by itself, and a broken one takes nothing down."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from isthmus.errors import PartError
from isthmus.registry import discover, find, plugins
from tests.site_folder import CONNECTOR, Site

HEAD = "from isthmus import Connector, hookimpl\n"
PART = "class Part(Connector, name='half'):\n    def forward(self, features): ...\n"
HOOK = "@hookimpl\ndef register_connectors(register):\n    "

BROKEN = {
    "import_error": ("from isthmus import nonsense", "ImportError", "nonsense"),
    "missing_dependency": ("import no_such_package", "needs the module 'no_such_package'"),
    "syntax_error": ("def broken(:\n", "syntax error", "line 1"),
    "exit_when_imported": ("raise SystemExit(3)", "exit the program", "3"),
    "exit_in_hook": (f"{HEAD}{HOOK}raise SystemExit", "exit the program"),
    "error_in_hook": (f"{HEAD}{PART}{HOOK}register(Part)\n    1 / 0", "ZeroDivisionError"),
    "wrong_signature": (
        f"{HEAD}@hookimpl\ndef register_connectors(register, extra): ...",
        "a hook is not as isthmus knows it",
        "extra",
    ),
    "unknown_hook": (
        f"{HEAD}{PART}{HOOK}register(Part)\n@hookimpl\ndef register_conectors(register): ...",
        "no hook named register_conectors",
        "Did you mean 'register_connectors'?",
    ),
    "instance": (f"{HEAD}{HOOK}register(3)", "takes a class; found 3"),
    "wrong_kind": (
        f"{HEAD}{PART}@hookimpl\ndef register_encoders(register): register(Part)",
        "kind 'encoder'; found kind 'connector'",
        "use register_connectors",
    ),
    "no_name": (
        f"{HEAD}class Part(Connector):\n    def forward(self, features): ...\n{HOOK}register(Part)",
        "has no name",
    ),
    "bad_name": (f"{HEAD}{PART.replace('half', 'My-Part')}{HOOK}register(Part)", "'My-Part'"),
    "no_config": (
        f"{HEAD}class Part:\n    kind, name = 'connector', 'half'\n{HOOK}register(Part)",
        "no nested class `Config`",
    ),
    "unfinished": (
        f"{HEAD}class Part(Connector, name='half'): ...\n{HOOK}register(Part)",
        "lacks forward",
    ),
    "twice": (
        f"{HEAD}{PART}{HOOK}register(Part)\n    register(Part)",
        "two connectors named 'half'",
    ),
}


@pytest.fixture(autouse=True)
def clean(site: Site) -> None:
    """Every test has its own site folder and no switches set."""


def test_installed_plugin_is_found_with_its_distribution_and_version(site: Site) -> None:
    site.install("isthmus-wave", CONNECTOR.format(name="wave"), version="2.1")
    registry = discover(built_in=())
    entry = registry.find("connector", "wave")
    assert (entry.distribution, entry.version, entry.module) == (
        "isthmus-wave",
        "2.1",
        "isthmus_wave",
    )
    assert entry.part.Config.owner is registry.resolve("connector", "wave")
    assert registry.problems == ()


@pytest.mark.parametrize("case", BROKEN)
def test_broken_plugin_is_a_named_problem_and_takes_nothing_in(site: Site, case: str) -> None:
    source, *fragments = BROKEN[case]
    module = site.install("isthmus-broken", source, version="0.3")
    site.install("isthmus-whole", CONNECTOR.format(name="whole"))
    registry = discover(built_in=())
    (problem,) = registry.problems
    assert problem.where == f"isthmus-broken 0.3 ({module})"
    for fragment in fragments:
        assert fragment in problem.message
    assert [entry.name for entry in registry.entries()] == ["whole"]
    assert [plugin.distribution for plugin in registry.plugins] == ["isthmus-whole"]


def test_entry_point_without_its_module_is_a_problem(site: Site) -> None:
    site.install("isthmus-gone", points={"gone": "isthmus_gone_elsewhere"})
    (problem,) = discover(built_in=()).problems
    assert problem.where.startswith("isthmus-gone 1.0")
    assert "there is no module 'isthmus_gone_elsewhere'" in problem.message


def test_missing_built_in_module_is_a_problem() -> None:
    registry = discover(built_in=("isthmus.plugins.connectors.nowhere",))
    (problem,) = registry.problems
    assert problem.where.startswith("isthmus ")
    assert "there is no module 'isthmus.plugins.connectors.nowhere'" in problem.message


def test_entry_point_must_name_a_module(site: Site) -> None:
    site.install("isthmus-object", "plugin = 3", points={"object": "isthmus_object:plugin"})
    (problem,) = discover(built_in=()).problems
    assert problem.where == "isthmus-object 1.0 (entry point object)"
    assert "must be a module" in problem.message


def test_metadata_that_cannot_be_read_hides_no_other_plugin(site: Site) -> None:
    site.metadata("isthmus-garbled", "1.0", "[isthmus]\nno equals sign")
    site.install("isthmus-whole", CONNECTOR.format(name="whole"))
    registry = discover(built_in=())
    assert [entry.name for entry in registry.entries()] == ["whole"]
    assert "isthmus_garbled-1.0.dist-info" in str(registry.problems[0])


def test_built_in_part_cannot_be_shadowed(site: Site) -> None:
    site.install("isthmus-thief", CONNECTOR.format(name="linear"))
    registry = discover(built_in=("isthmus.plugins.connectors.linear",))
    (problem,) = registry.problems
    assert problem.where.startswith("isthmus-thief 1.0")
    assert "isthmus.plugins.connectors.linear" in problem.message
    assert registry.find("connector", "linear").distribution == "isthmus"


def test_two_strangers_with_one_name_are_both_named_when_it_is_asked_for(site: Site) -> None:
    site.install("isthmus-one", CONNECTOR.format(name="same"))
    site.install("isthmus-two", CONNECTOR.format(name="same"))
    site.install("isthmus-three", CONNECTOR.format(name="other"))
    registry = discover(built_in=())
    with pytest.raises(PartError, match=r"isthmus-one 1\.0 .* and isthmus-two 1\.0"):
        registry.resolve("connector", "same")
    assert registry.resolve("connector", "other").name == "other"
    assert "isthmus-two" in registry.problems[0].where
    assert "isthmus-one" in registry.problems[0].message


def test_module_offered_twice_loads_once(site: Site) -> None:
    module = site.install("isthmus-one", CONNECTOR.format(name="same"))
    site.install("isthmus-two", points={"two": module})
    registry = discover(built_in=())
    assert registry.find("connector", "same").distribution == "isthmus-one"
    assert "already loaded for isthmus-one 1.0" in registry.problems[0].message


def test_slow_import_is_timed_and_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "SLOW_SECONDS", 0.05)
    site.install("isthmus-slow", "import time\ntime.sleep(0.2)")
    registry = discover(built_in=())
    (note,) = registry.notes
    assert note.where.startswith("isthmus-slow 1.0")
    assert "took 0." in note.message
    assert registry.problems == ()


def test_first_import_of_torch_is_not_blamed_on_a_plugin(site: Site) -> None:
    site.install("isthmus-wave", CONNECTOR.format(name="wave"))
    code = (
        "from isthmus.registry import discover, find, plugins; plugins.SLOW_SECONDS = 0.01;"
        "registry = discover(built_in=()); import sys;"
        "print('torch' in sys.modules, registry.names('connector'), registry.notes)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(site.folder)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.split(None, 1) == ["True", "('wave',) ()\n"]


def test_autoload_switched_off_imports_no_stranger(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = site.install("isthmus-wave", CONNECTOR.format(name="wave"))
    monkeypatch.setenv("ISTHMUS_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("ISTHMUS_PLUGINS", "isthmus-wave")
    registry = discover(built_in=("isthmus.plugins.connectors.linear",))
    assert registry.names("connector") == ("linear",)
    assert module not in sys.modules


@pytest.mark.parametrize("listed", ["isthmus-one", "Isthmus_One", "first", " first ,, "])
def test_only_listed_plugins_load(site: Site, monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    module = site.install(
        "isthmus-one", CONNECTOR.format(name="one"), points={"first": "isthmus_one"}
    )
    other = site.install("isthmus-two", CONNECTOR.format(name="two"))
    monkeypatch.setenv("ISTHMUS_PLUGINS", listed)
    registry = discover(built_in=())
    assert registry.names("connector") == ("one",)
    assert module in sys.modules
    assert other not in sys.modules
    assert registry.problems == ()


def test_listed_plugin_that_is_not_installed_is_a_problem(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("isthmus-verb", group="isthmus.commands")
    monkeypatch.setenv("ISTHMUS_PLUGINS", "isthmus-verb,isthmus-nowhere")
    (problem,) = discover(built_in=()).problems
    assert problem.message == "no distribution or entry point is called 'isthmus-nowhere'"


def test_strict_switch_makes_any_problem_fatal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("isthmus-broken", "1 / 0")
    monkeypatch.setenv("ISTHMUS_STRICT_PLUGINS", "1")
    with pytest.raises(PartError, match=r"isthmus-broken 1\.0.*ZeroDivisionError"):
        discover(built_in=())
    monkeypatch.setenv("ISTHMUS_STRICT_PLUGINS", "0")
    assert len(discover(built_in=()).problems) == 1


def test_unknown_name_is_told_the_known_ones_and_the_nearest(site: Site) -> None:
    site.install("isthmus-wave", CONNECTOR.format(name="wave"))
    site.install("isthmus-broken", "1 / 0")
    registry = discover(built_in=("isthmus.plugins.connectors.linear",))
    with pytest.raises(PartError) as caught:
        registry.resolve("connector", "wvae")
    assert str(caught.value) == (
        "no connector is called 'wvae'. Known: linear, wave. Did you mean 'wave'? "
        "Some plugins have problems; see `isthmus plugins`."
    )


def test_every_built_in_part_comes_in() -> None:
    registry = plugins.Registry()
    for module in plugins.BUILT_IN:
        registry.load(module, "isthmus", "0", builtin=True)
    assert registry.problems == ()
    assert {entry.module for entry in registry.entries()} == set(plugins.BUILT_IN)


def test_a_built_in_part_is_found_without_other_kinds_and_strangers(site: Site) -> None:
    site.install("isthmus-half", CONNECTOR.format(name="half"))
    code = (
        "import sys; from isthmus.registry import find\n"
        "print(find('benchmark', 'pope').origin)\n"
        "print('isthmus_half' in sys.modules, 'isthmus.plugins.llms.causal' in sys.modules)\n"
        "print(find('connector', 'half').distribution)"
    )
    path = f"{site.folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    ).stdout.splitlines()
    assert shown[0].endswith("(isthmus.plugins.benchmarks.pope)")
    assert shown[1:] == ["False False", "isthmus-half"]


def test_a_part_that_nobody_has_is_told_the_nearest() -> None:
    with pytest.raises(PartError, match=r"no benchmark is called 'poppe'.*Did you mean 'pope'"):
        find("benchmark", "poppe")


def test_built_in_parts_come_in_when_their_kind_is_asked_for() -> None:
    code = (
        "import sys; from isthmus.registry import discover\n"
        "registry = discover()\n"
        "print('openai' in registry.names('chat_model'), 'torch' in sys.modules)\n"
        "print(registry.find('connector', 'mlp').name, 'torch' in sys.modules)\n"
        "print(len(registry.plugins) == len({entry.module for entry in registry.entries()}))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ISTHMUS_DISABLE_PLUGIN_AUTOLOAD": "1"},
    ).stdout
    assert shown.splitlines() == ["True False", "mlp True", "True"]


def test_the_folder_of_a_built_in_module_is_named_for_its_kind() -> None:
    """Or it would come in for a kind that nobody asked for."""
    for entry in plugins.discover().entries():
        if entry.builtin:
            assert entry.module.split(".")[2] == f"{entry.kind}s"
