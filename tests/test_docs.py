"""The pages say what the code does."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.core.config import load, parse, validate_part
from isthmus.core.contracts import Grid, Question
from isthmus.core.model.config import ModelConfig
from isthmus.evaluate.published import published as published_rows
from isthmus.registry import discover, get_registry
from isthmus.synthesize.config import ScenesConfig
from isthmus.synthesize.quality import REASONS
from isthmus.testing import check_benchmark
from tests.evaluate.bench import bench, says
from tests.loopback import loopback
from tests.site_folder import Site

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def test_reference_is_what_the_code_says():
    command = [sys.executable, str(REPOSITORY / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def syntax_error(code: str) -> str:
    """The line that Python cannot read, and why; nothing where it can read all."""
    try:
        ast.parse(code)
    except SyntaxError as error:
        return f"{error.text}: {error.msg}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_python_examples_compile(page):
    examples = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    assert [error for code in examples if (error := syntax_error(code))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_file_that_is_named_exists(page):
    here = re.sub(r"https?://\S+", "", page.read_text())
    for name in re.findall(r"\b(?:examples|docs|benchmarks)/[\w./-]+\.\w+", here):
        assert (REPOSITORY / name).exists(), f"{page.name}: {name}"


def blocks(page: str, language: str = "python") -> list[str]:
    """The examples of a page of docs/, in order."""
    text = (REPOSITORY / "docs" / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


@pytest.fixture
def published(site: Site) -> list[Path]:
    """Every file that docs/publish-a-part.md writes out, where pip would put it: a block names
    its file in its first line."""
    files = []
    for code in blocks("publish-a-part.md"):
        files.append(site.folder / code.partition("\n")[0].removeprefix("# "))
        files[-1].parent.mkdir(exist_ok=True)
        files[-1].write_text(code)
    return files


def run(code: str, file: str, **names: Any) -> dict[str, Any]:
    """What stands in a module of this code after it ran."""
    exec(compile(code, file, "exec"), names)
    return names


def test_the_package_of_the_page_is_found_by_what_its_pyproject_says(
    published: list[Path], site: Site
) -> None:
    (text,) = blocks("publish-a-part.md", "toml")
    pyproject = tomllib.loads(text)
    assert pyproject["build-system"].keys() == {"requires", "build-backend"}
    project = pyproject["project"]
    points = project["entry-points"]["isthmus"]
    for package in pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert (site.folder / package).is_dir()
    lines = "\n".join(f"{name} = {module}" for name, module in points.items())
    site.metadata(project["name"], project["version"], f"[isthmus]\n{lines}")
    entry = discover(built_in=()).find("connector", "bottleneck")
    assert (entry.distribution, entry.version) == ("my-isthmus-parts", "0.1.0")


def test_every_part_of_the_page_passes_the_tests_of_the_page(published: list[Path]) -> None:
    ran = []
    for file in published:
        if file.name.startswith("test_"):
            for name, test in run(file.read_text(), str(file)).items():
                if name.startswith("test_"):
                    test()
                    ran.append(name)
    assert ran == [f"test_{part}_keeps_the_contract" for part in ("bottleneck", "asking", "glance")]


CONNECTORS = blocks("connectors.md", "yaml")


@pytest.mark.parametrize("text", CONNECTORS, ids=lambda text: text.split("#")[0].strip())
def test_every_line_of_the_page_of_connectors_joins_two_parts(text: str) -> None:
    parts = {"encoder": {"type": "clip", "model": "a/b"}, "llm": {"type": "causal", "model": "c/d"}}
    assert load(ModelConfig, parts | parse(text).values).connector is not None


def test_the_page_of_connectors_lists_all_with_their_tokens() -> None:
    page = (REPOSITORY / "docs" / "connectors.md").read_text()
    listed = {name: int(count) for name, count in re.findall(r"\n\| `(\w+)` \| (\d+) \|", page)}
    entries = [e for e in get_registry().entries() if e.builtin and e.kind == "connector"]
    assert listed.keys() == {entry.name for entry in entries}
    for name, count in listed.items():
        config = validate_part("connector", {"type": name})
        assert config.num_tokens((Grid(24, 24),)) == count
    written = [parse(text).values["connector"] for text in CONNECTORS]
    assert {part if isinstance(part, str) else part["type"] for part in written} == listed.keys()


def test_the_example_of_the_page_of_connectors_runs() -> None:
    (code,) = blocks("connectors.md")
    assert run(code, "connectors.md")["tokens"].shape == (16, 32)


TINY = {
    'model="openai/clip-vit-large-patch14-336"': """config={
        "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 3,
        "num_attention_heads": 4, "image_size": 32, "patch_size": 8}""",
}
"""What is published and too large for a test -> what stands in for it."""


def test_every_example_of_embedding_runs(
    published: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks("embed-a-part.md"))
    for large, tiny in TINY.items():
        assert code.count(large) == 1
        code = code.replace(large, tiny)
    names = run(code, "embed-a-part.md")
    assert names["tokens"].shape == (16, 32)


def test_the_jury_of_the_page_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bench(tmp_path, 3))
    code, *_ = blocks("evaluate.md")
    files = {name: Path(f"{name}.jsonl") for name in ("context", "reference")}
    with loopback(lambda asked: says(asked, "8 4")) as server:
        judge = f"{{type: openai, model: m, base_url: '{server.url}'}}"
        main = run(code, "evaluate.md")["main"]
        main(judge, Path("answers.jsonl"), data=Path("questions.jsonl"), **files)
    assert "score=50.0" in capsys.readouterr().out


def test_the_benchmark_of_the_page_keeps_the_contract(site: Site) -> None:
    *_, code = blocks("evaluate.md")
    assert len(code.splitlines()) <= 60
    site.install("isthmus-counting", code, module="counting")
    counting = discover(built_in=()).resolve("benchmark", "counting")
    file = site.folder / "questions.jsonl"
    file.write_text('{"question_id": 1, "text": "How many?", "answer": 3, "category": "few"}\n')
    check_benchmark(counting.Config(data=file), ["3", "There are 4.", "two or 3"])
    outcome = counting.Config(data=file).build().outcome(Question(1, references=("3",)), "4")
    assert outcome.counts == {"right": 0, "close": 1}


def test_published_numbers_have_a_source_and_a_benchmark() -> None:
    rows = published_rows()
    names = {entry.name for entry in discover().entries() if entry.kind == "benchmark"}
    for row in rows:
        assert row.benchmark in names
        assert row.source
        assert all(0 <= number <= 100 for number in row.by.values())
    assert len({(row.benchmark, row.model) for row in rows}) == len(rows)


def test_every_chat_model_of_the_page_is_one(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its YAML, its example of asking, and the model that it publishes, by the page's own test."""
    for text in blocks("chat-models.md", "yaml"):
        assert validate_part("chat_model", yaml.safe_load(text)).build().identity()
    asking, parrot, test = blocks("chat-models.md")
    monkeypatch.chdir(tmp_path)
    with loopback() as server:
        run(asking, "asking.py")["main"](server.url)
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines[:2]} == {"caption-0", "caption-1"}
    assert lines[2].endswith("tokens so far")
    (site.folder / "my_parts").mkdir()
    (site.folder / "my_parts" / "parrot.py").write_text(parrot)
    run(test, "test_my_parrot.py")["test_parrot_keeps_the_contract"]()


def test_the_recipe_of_the_page_keeps_the_contract_and_its_scenes_are_read(site: Site) -> None:
    for text in blocks("synthesize.md", "yaml"):
        assert ScenesConfig.model_validate(yaml.safe_load(text)["scenes"])
    riddle, test = blocks("synthesize.md")
    (site.folder / "my_parts").mkdir()
    (site.folder / "my_parts" / "riddle.py").write_text(riddle)
    run(test, "test_my_riddle.py")["test_riddle_keeps_the_contract"]()


def test_the_page_names_every_reason() -> None:
    page = (REPOSITORY / "docs" / "synthesize.md").read_text()
    assert [reason for reason in REASONS if f"`{reason}`" not in page] == []
