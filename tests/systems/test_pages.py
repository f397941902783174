"""The index of systems names what is there: a page, an oracle and a recipe for each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from isthmus.core.config import load, parse
from isthmus.core.model.config import ModelConfig
from tests.systems.test_examples_train import SYSTEMS

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs" / "systems"
INDEX = (DOCS / "README.md").read_text()
ROWS = [line for line in INDEX.splitlines() if line.startswith("| ") and ".md)" in line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_a_row_has_its_oracle_and_its_page(row: str) -> None:
    (oracle,) = re.findall(r"`(tests/[\w/]+\.py)`", row)
    assert (REPOSITORY / oracle).exists()
    (name,) = re.findall(r"\(([\w.-]+\.md)\)", row)
    page = (DOCS / name).read_text()
    assert oracle in page.partition("## Oracle")[2]
    assert re.findall(r"examples/[\w.-]+\.yaml", page)


def test_every_page_is_in_the_index_and_every_recipe_on_a_page() -> None:
    pages = {page.name: page.read_text() for page in DOCS.glob("*.md") if page.name != "README.md"}
    assert {name for name in pages if f"({name})" not in INDEX} == set()
    written = " ".join(pages.values())
    assert [name for name in SYSTEMS if f"examples/{name}.yaml" not in written] == []


def test_every_yaml_of_a_page_is_a_model() -> None:
    texts = [
        text
        for page in DOCS.glob("*.md")
        for text in re.findall(r"```yaml\n(encoder:.*?)```", page.read_text(), re.S)
    ]
    assert texts
    for text in texts:
        assert load(ModelConfig, parse(text).values)
