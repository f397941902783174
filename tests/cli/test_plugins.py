"""`isthmus plugins`: what is installed, from where, and what is wrong with it."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli import app
from isthmus.cli.plugins import type_words
from isthmus.core.contracts import DataPath, Encoder
from tests.site_folder import CONNECTOR, Site


@pytest.fixture(autouse=True)
def clean(site: Site) -> None:
    """No switches set."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plugins", *arguments])


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_every_part_is_listed_with_origin_and_status(site: Site) -> None:
    site.install("isthmus-wave", CONNECTOR.format(name="wave"), version="2.1")
    result = run()
    assert result.exit_code == 0
    rows = [cells(line) for line in result.stdout.splitlines()]
    assert ["kind", "name", "what it is", "from", "status"] in rows
    assert ["connector", "wave", "wave, for a test.", "isthmus-wave 2.1", "ok"] in rows
    ours = f"isthmus {version('isthmus')}"
    built_in = {(row[0], row[1]) for row in rows if row[3:4] == [ours]}
    assert {("connector", "mlp"), ("connector", "linear"), ("encoder", "clip")} <= built_in


def test_problems_stand_below_and_do_not_fail_the_command(site: Site) -> None:
    site.install("isthmus-broken", "1 / 0", version="0.3")
    site.install("isthmus-one", CONNECTOR.format(name="same"))
    site.install("isthmus-two", CONNECTOR.format(name="same"))
    result = run()
    assert result.exit_code == 0
    assert "problem: isthmus-broken 0.3 (isthmus_broken): ZeroDivisionError" in result.stdout
    rows = [cells(line) for line in result.stdout.splitlines()]
    clashing = [row for row in rows if row[:2] == ["connector", "same"]]
    assert [row[-1] for row in clashing] == ["name taken twice"] * 2


def test_verbs_of_plugins_are_listed(site: Site) -> None:
    points = {"greet": "isthmus_greeter:greet"}
    site.install("isthmus-greeter", group="isthmus.commands", points=points)
    assert "isthmus_greeter:greet" in run().stdout


def test_strict_switch_fails_the_command(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("isthmus-broken", "1 / 0")
    monkeypatch.setenv("ISTHMUS_STRICT_PLUGINS", "1")
    result = run()
    assert result.exit_code == 2
    assert "isthmus-broken 1.0" in result.stderr


def test_show_prints_fields_with_types_defaults_and_docs() -> None:
    result = run("show", "connector", "mlp")
    assert result.exit_code == 0
    rows = [cells(line) for line in result.stdout.splitlines()]
    assert ["depth", "whole number", "2", "Number of linear layers."] in rows
    assert ["dim_in", "int"] in rows
    assert "arXiv:2310.03744" in result.stdout


def test_build_argument_without_a_type_is_shown_as_any(site: Site) -> None:
    constructor = "    def __init__(self, config, dim_in, dim_out):\n        pass\n\n"
    source = CONNECTOR.format(name="untyped").replace(
        "    def forward", f"{constructor}    def forward"
    )
    site.install("isthmus-untyped", source)
    rows = [cells(line) for line in run("show", "connector", "untyped").stdout.splitlines()]
    assert ["dim_in", "any"] in rows


def test_show_of_a_kind_lists_its_parts() -> None:
    result = run("show", "connector")
    assert result.exit_code == 0
    names = [cells(line)[0] for line in result.stdout.splitlines()]
    assert names[0] == "name"
    assert {"identity", "linear", "mlp"} <= set(names)
    assert "connector NAME" in result.stdout
    assert "llama2" not in result.stdout
    unknown = run("show", "conector")
    assert unknown.exit_code == 2
    assert "Did you mean 'connector'?" in unknown.stderr


@pytest.mark.parametrize(
    ("kind", "name", "example"),
    [
        ("encoder", "clip", "openai/clip-vit-large-patch14-336"),
        ("encoder", "siglip", "google/siglip-so400m-patch14-384"),
        ("encoder", "dinov2", "facebook/dinov2-large"),
        ("llm", "causal", "lmsys/vicuna-7b-v1.5"),
    ],
)
def test_a_parts_example_of_a_model_is_of_its_kind(kind: str, name: str, example: str) -> None:
    rows = [cells(line) for line in run("show", kind, name).stdout.splitlines()]
    (model,) = [row for row in rows if row[0] == "model"]
    assert model[3] == f"Hub id (`{example}`) or local folder of published weights."


def test_show_of_an_unknown_part_names_the_nearest() -> None:
    result = run("show", "connector", "mpl")
    assert result.exit_code == 2
    assert "no connector is called 'mpl'" in result.stderr
    assert "Did you mean 'mlp'?" in result.stderr
    assert run("show", "conector", "mlp").exit_code == 2


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int | None, "whole number or null"),
        (tuple[float, ...], "[number, ...]"),
        (dict[str, int], "mapping"),
        (DataPath, "path"),
        (Encoder.Config, "any encoder"),
        (list[Encoder.Config], "[any encoder]"),
    ],
)
def test_types_are_told_in_the_words_of_yaml(annotation: object, words: str) -> None:
    assert type_words(annotation) == words
