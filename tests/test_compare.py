"""The comparison of connectors: what it trains is valid, and its page says what was scored."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from isthmus.core.config import load
from isthmus.core.contracts import Grid
from isthmus.core.train.config import RunConfig
from isthmus.registry import get_registry
from tests.demo_scripts import DEMO, imported

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def demo():
    """The demo's modules, as a script beside them sees them."""
    with imported("compare", "compared", "jobs") as modules:
        yield modules


def test_every_connector_is_compared_and_its_run_is_valid(demo):
    entries = [e for e in get_registry().entries() if e.builtin and e.kind == "connector"]
    assert demo.compare.CONNECTORS.keys() == {entry.name for entry in entries}
    tokens = {}
    for name in demo.compare.CONNECTORS:
        options = demo.compare.options_of(name)[1::2]
        config = load(RunConfig, DEMO / "compare.yaml", options)
        assert config.model.connector.owner.name == name
        tokens[name] = config.model.connector.num_tokens((Grid(4, 4),))
        learn = [set(stage.train) for stage in config.stages]
        alone = {"llm"} if name == "identity" else {"connector"}
        assert learn == [alone, alone | {"llm"}]
    assert set(tokens.values()) == {0, 4, 16}


def test_all_begin_with_the_encoder_and_the_llm_that_are_pretrained():
    before = load(RunConfig, DEMO / "compare_pretrain.yaml")
    run = load(RunConfig, DEMO / "compare.yaml")
    assert run.model == before.model
    assert run.start.parts == ("encoder", "llm")
    assert run.start.checkpoint.resolve() == (REPOSITORY / before.out).resolve()


QUESTIONS = [("digit", "3"), ("digit", "4"), ("sum", "3 + 4 = 7"), ("sum", "1 + 1 = 2")]


@pytest.fixture
def evaluation(tmp_path):
    """An evaluation of two models: `linear` errs once, `pool` is right about one digit alone."""
    rows = [
        {"question_id": str(at), "image": f"{at}.png", "text": "?", "answer": answer,
         "category": kind} for at, (kind, answer) in enumerate(QUESTIONS)
    ]  # fmt: skip
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = {"linear": ["3", "4", "3 + 4 = 7", "1 + 1 = 3"], "pool": ["3", "9", "no", "no"]}
    for model, texts in said.items():
        place = tmp_path / "evaluation" / model / "digits"
        place.mkdir(parents=True)
        answers = [{"question_id": str(at), "text": text} for at, text in enumerate(texts)]
        (place / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    (tmp_path / "evaluation" / "evaluation.yaml").write_text(
        f"models: {{linear: {tmp_path}/linear, pool: {tmp_path}/pool}}\n"
        f"benchmarks: {{digits: {{type: exact_match, data: {tmp_path}/questions.jsonl}}}}\n"
        f"out: {tmp_path}/evaluation\ncontrols: []\n"
    )
    return tmp_path


def test_scores_are_shares_of_right_answers_by_type_with_intervals(demo, evaluation):
    scores = demo.compared.read_scores(evaluation / "evaluation")
    values = {name: {k: s.value for k, s in by.items()} for name, by in scores.items()}
    assert values == {
        "linear": {"all": 75.0, "digit": 100.0, "sum": 50.0},
        "pool": {"all": 25.0, "digit": 50.0, "sum": 0.0},
    }
    for by in scores.values():
        assert all(0 <= s.low <= s.value <= s.high <= 100 for s in by.values())
    assert scores["linear"]["digit"].low == scores["linear"]["digit"].high == 100
    assert scores["linear"]["all"].low < 75 < scores["linear"]["all"].high


def test_page_csv_and_picture_are_made_of_the_scores(demo, evaluation):
    compared = demo.compared
    scores = compared.read_scores(evaluation / "evaluation")
    figures = {"tokens_per_s": 5310.2, "peak_gib": 0.934, "align_loss": 0.5, "instruct_loss": 0.25}
    rows = [
        compared.Row("linear", 16, 16512, 140.0, scores=scores["linear"], **figures),
        compared.Row("pool", 4, 33024, None, scores=scores["pool"], **figures),
    ]
    docs = evaluation / "docs"
    (docs / "images").mkdir(parents=True)
    page = docs / "connectors-compared.md"
    page.write_text(f"# Before\n{compared.BEGIN}old\n{compared.END}After.\n")
    compared.write_files(rows, evaluation, docs)
    first = {file: file.read_bytes() for file in docs.rglob("*.*")}
    compared.write_files(rows, evaluation, docs)
    assert first == {file: file.read_bytes() for file in docs.rglob("*.*")}
    assert {file.suffix for file in first} == {".md", ".csv", ".svg"}
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("After.\n")
    assert "old" not in text
    assert "| `linear` | 16 | **75.0** " in text
    assert "| `pool` | 33,024 | - | 5,310 | 0.93 | 0.50 | 0.25 |" in text
    read = compared.read_csv(docs / "connectors-compared.csv")
    assert [replace(row, scores={}) for row in read] == [
        replace(row, scores={}, tokens_per_s=5310.0) for row in rows
    ]
    assert read[0].scores["sum"].value == 50.0
    assert ElementTree.parse(docs / "images" / "connectors-compared.svg").getroot() is not None


def test_the_page_in_docs_says_what_its_csv_says(demo):
    compared, docs = demo.compared, REPOSITORY / "docs"
    page, file = (docs / "connectors-compared.md").read_text(), docs / "connectors-compared.csv"
    rows = compared.read_csv(file)
    assert [row.connector for row in rows] == list(demo.compare.CONNECTORS)
    assert compared.tables(rows) in page


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_comparison_that_was_stopped_goes_on_to_its_tables(tmp_path):
    def compare(*options):
        few = ("--scenes", "40", "--steps", "1", *options)
        command = [sys.executable, str(DEMO / "compare.py"), "--folder", str(tmp_path), *few]
        done = subprocess.run(command, capture_output=True, text=True)
        assert not done.returncode, done.stdout + done.stderr

    compare("--only", "linear")
    trained = (tmp_path / "linear.json").read_bytes()
    compare("--only", "linear,gated_cross_attention")
    assert (tmp_path / "linear.json").read_bytes() == trained
    with (tmp_path / "connectors-compared.csv").open() as lines:
        rows = {row["connector"]: row for row in csv.DictReader(lines)}
    assert {name: row["visual_tokens"] for name, row in rows.items()} == {
        "linear": "16",
        "gated_cross_attention": "0",
    }
    assert rows["linear"]["parameters"] == str(128 * 128 + 128)
    assert (tmp_path / "evaluation" / "report.html").exists()


def test_a_job_that_fails_ends_the_program_and_what_it_took_is_kept(demo, tmp_path):
    job = demo.jobs.Job(tmp_path / "wrong.log", tmp_path / "run", 1, "no-such-verb")
    with pytest.raises(SystemExit, match="wrong failed with exit code 2"):
        demo.jobs.run_jobs([job], at_once=1)
    assert job.cost.state == "stopped"
    assert job.cost.cpu_seconds > 0
    assert "no-such-verb" in job.log.read_text()


def test_of_a_job_that_was_killed_nobody_knows_what_it_took(demo, tmp_path):
    job = demo.jobs.Job(tmp_path / "killed.log", tmp_path / "run", 1, "no-such-verb")
    demo.jobs.Cost("running", 3.0, 0.5).write(job.cost_file)
    with pytest.raises(SystemExit):
        demo.jobs.run_jobs([job], at_once=1)
    assert job.cost.cpu_seconds is None
