"""The published numbers, from the published files, by the command that a user types."""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from isthmus.cli import app
from isthmus.evaluate.published import OURS
from tests.evaluate.toys import write_lines


def score(*arguments: Any) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["score", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def published(benchmark: str, model: str) -> dict[str, float]:
    """The row that comes with isthmus."""
    rows = yaml.safe_load(OURS.read_text())["rows"]
    (row,) = (row for row in rows if (row["benchmark"], row["model"]) == (benchmark, model))
    numbers: dict[str, float] = row["by"]
    return numbers


def scienceqa(data_folder: Path, answers: Path | str) -> dict[str, Any]:
    folder = data_folder / "scienceqa"
    return score("scienceqa", "--answers", folder / answers, "--data", folder)


LLAVA = "test_sqa_llava_13b_v0.json"


def test_scienceqa_of_llava_is_3855_right(data_folder: Path) -> None:
    found = scienceqa(data_folder, LLAVA)
    assert (found["n_total"], found["n_valid"], found["invalid"]) == (4241, 4240, ["3247"])
    assert found["score"] == pytest.approx(100 * 3855 / 4241)
    assert round(found["score"], 2) == 90.90


def test_scienceqas_columns_are_the_papers_but_for_the_one_that_it_drew(data_folder: Path) -> None:
    """The paper counts question 3247 (LAN, NO, G1-6), "D" of two choices, as right by a draw."""
    paper = published("scienceqa", "LLaVA-13B v0")
    found = scienceqa(data_folder, LLAVA)["by"]
    drawn = {"LAN": 1100, "NO": 1435, "G1-6": 2724, "Avg": 4241}
    for column, number in paper.items():
        one_more = 100 / drawn[column] if column in drawn else 0
        assert round(found[column] + one_more, 2) == number
        assert found[column] == pytest.approx(number, abs=0.1)
    for column in ("NAT", "SOC", "TXT", "IMG", "G1-6", "G7-12", "Avg"):
        assert found[column] == pytest.approx(paper[column], abs=0.05)


@pytest.mark.parametrize("file", ["llava-v1.5-13b_result.json", "llava-v1.5-13b_output.json"])
def test_scienceqa_of_llava_15_is_what_its_own_file_says(file: str, data_folder: Path) -> None:
    found = scienceqa(data_folder, file)
    assert found["score"] == pytest.approx(74.39283187927376)
    assert round(found["by"]["IMG"], 1) == published("scienceqa", "LLaVA-1.5-13B")["IMG"]


def test_scienceqa_is_the_same_in_every_form(data_folder: Path, tmp_path: Path) -> None:
    outputs = json.loads((data_folder / "scienceqa" / LLAVA).read_text())["outputs"]
    wanted = scienceqa(data_folder, LLAVA)
    rows = [{"question_id": id, "text": text} for id, text in outputs.items()]
    assert scienceqa(data_folder, write_lines(tmp_path / "a.jsonl", rows)) == wanted
    (tmp_path / "b.json").write_text(json.dumps(rows))
    assert scienceqa(data_folder, tmp_path / "b.json") == wanted


def test_scienceqa_from_its_authors_folder_is_the_same(data_folder: Path, tmp_path: Path) -> None:
    """The official files hold what LLaVA's converted ones do; here they are written from them."""
    folder = data_folder / "scienceqa"
    with (folder / "id_grade_subject.csv").open() as file:
        meta = {row["question_id"]: row for row in csv.DictReader(file)}
    problems = {}
    for record in json.loads((folder / "llava_test_CQM-A.json").read_text()):
        asked = record["conversations"][0]["value"].removeprefix("<image>\n")
        body, *options = asked.rsplit("\nA. ", 1)[0], *_choices(asked)
        problems[record["id"]] = {
            "question": body,
            "choices": options,
            "answer": "ABCDE".index(record["conversations"][1]["value"]),
            "hint": "some" if body.startswith("Context: ") else "",
            "image": "image.png" if "image" in record else None,
            "grade": f"grade{meta[record['id']]['grade']}",
            "subject": meta[record["id"]]["subject"],
        }
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    (tmp_path / "pid_splits.json").write_bytes((folder / "pid_splits.json").read_bytes())
    official = score("scienceqa", "--answers", folder / LLAVA, "--data", tmp_path)
    assert official == scienceqa(data_folder, LLAVA)


def _choices(asked: str) -> list[str]:
    lines = asked[asked.rindex("\nA. ") + 1 :].split("\n")
    return [line[3:] for line in lines if line[1:3] == ". "]


def test_scienceqa_complement_is_no_worse_than_its_first(data_folder: Path) -> None:
    folder = data_folder / "scienceqa"
    second = folder / "llava-v1.5-13b_result.json"
    given = ("scienceqa", "--data", folder, "--answers", folder / LLAVA, "--second", second)
    found = score(*given, "--ensemble", "complement")
    # One answer of the first cannot be read; LLaVA-1.5 has it right.
    assert found["score"] == pytest.approx(100 * 3856 / 4241)
    assert found["upper_bound"] > found["score"] > found["agreement"]


def test_llava_bench_coco_from_reviews(data_folder: Path) -> None:
    folder = data_folder / "llava_bench" / "coco_reviews"
    columns = ("all", "conv", "detail", "complex")
    for name, numbers in (
        ("review_p0f0", (85.9, 83.9, 78.2, 95.3)),
        ("review_p0f1", (85.5, 79.3, 79.3, 97.8)),
    ):
        found = score("llava_bench", "--reviews", folder / f"{name}.jsonl")
        assert tuple(round(found["by"][column], 1) for column in columns) == numbers
        assert found["score"] == found["by"]["all"]
        assert (found["n_valid"], found["n_total"]) == (90, 90)


def test_llava_bench_in_the_wild_of_llava_15_7b_in_three_runs(data_folder: Path) -> None:
    files = sorted((data_folder / "llava_bench" / "wild_reviews").glob("*.jsonl"))
    found = score("llava_bench", "--reviews", *files)
    assert [round(run, 1) for run in found["runs"]] == [64.8, 65.3, 66.3]
    assert found["n_total"] == 60
    one = score("llava_bench", "--reviews", files[0])
    assert round(one["score"], 1) == 64.8


def test_pope_random_of_llava_15_13b(data_folder: Path) -> None:
    folder = data_folder / "pope"
    answers = folder / "answers_llava-v1.5-13b_random.jsonl"
    found = score("pope", "--answers", answers, "--data", folder, "--split", "random")
    assert round(found["score"], 1) == published("pope", "LLaVA-1.5-13B")["random"] == 87.1
    assert found["n_total"] == 2910


def test_scoring_4241_answers_takes_under_two_seconds(data_folder: Path) -> None:
    folder = data_folder / "scienceqa"
    command = [sys.executable, "-m", "isthmus", "score", "scienceqa", "--json"]
    seconds = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [*command, "--answers", str(folder / LLAVA), "--data", str(folder)],
            capture_output=True,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time, since other work on the machine stretches the clock's.
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 2
