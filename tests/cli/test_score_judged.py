"""`isthmus score --judge`: exit codes, files, offline runs, and what a wrong command is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli import app
from tests.evaluate.bench import bench, number, says
from tests.evaluate.toys import write_lines
from tests.loopback import Answer, Asked, Loopback, error, loopback


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return bench(tmp_path, 100)


def judge_yaml(server: Loopback, **more: Any) -> str:
    ask = {"attempts": 2, "backoff": 0.001, "longest_backoff": 0.01}
    values = {"type": "openai", "model": "judge", "base_url": server.url, "ask": ask, **more}
    Path("judge.yaml").write_text(json.dumps(values))
    return "judge.yaml"


FILES = ("--answers", "answers.jsonl", "--reference", "reference.jsonl", "--context")
GIVEN = ("llava_bench", *FILES, "context.jsonl", "--data", "questions.jsonl")


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


@pytest.mark.parametrize(("percent", "code"), [(0, 0), (1, 0), (2, 1), (50, 1), (100, 1)])
def test_more_than_one_percent_missing_exits_1_and_all_missing_prints_no_number(
    percent: int, code: int
) -> None:
    def judge(asked: Asked) -> Answer:
        return error(500, "ill") if number(asked) < percent else says(asked, "8 4")

    with loopback(judge) as server:
        result = run(*GIVEN, "--judge", judge_yaml(server), "--json")
        table = run(*GIVEN, "--judge", "judge.yaml", "--offline")
    assert (result.exit_code, table.exit_code) == (code, code), result.output
    found = json.loads(result.stdout)
    assert found["score"] == (None if percent == 100 else 50)
    assert found["missing"] == found["invalid"] == list(range(percent))
    assert (found["n_valid"], found["n_total"]) == (100 - percent, 100)
    assert f"{100 - percent} of 100 could be read" in table.stdout
    assert ("50.00" in table.stdout) == (percent < 100)
    if percent:
        assert "HTTP 500: ill" in result.stderr
    if percent == 100:
        assert not [word for word in table.stdout.split() if "." in word and word[0].isdigit()]


def test_an_offline_run_is_byte_identical_and_needs_no_server() -> None:
    with loopback(lambda asked: says(asked, f"8 {number(asked) % 9}")) as server:
        first = run(*GIVEN, "--judge", judge_yaml(server), "--swap", "--json", "--out", "a.jsonl")
        calls = len(server.ledger)
        run(*GIVEN, "--judge", "judge.yaml", "--swap", "--json")
        assert len(server.ledger) == calls == 200
    again = run(
        *GIVEN, "--judge", "judge.yaml", "--swap", "--json", "--offline", "--out", "b.jsonl"
    )
    assert again.exit_code == first.exit_code == 0, again.output
    assert again.stdout == first.stdout
    assert Path("a.jsonl").read_bytes() == Path("b.jsonl").read_bytes()
    read = run("llava_bench", "--reviews", "a.jsonl", "--json")
    assert read.stdout == first.stdout


def test_progress_has_rate_eta_and_cost_and_leaves_the_output_alone() -> None:
    price = {"prompt": 1000, "completion": 1000}
    with loopback(lambda asked: says(asked, "8 4")) as server:
        result = run(*GIVEN, "--judge", judge_yaml(server, price=price), "--json")
    json.loads(result.stdout)
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("judge 100/100"))
    assert "replies/s  ETA 0:00  $" in line


def test_a_judges_name_cannot_steer_a_terminal() -> None:
    with loopback(lambda asked: says(asked, "8 4", "\x1b]0;owned\x07")) as server:
        result = run(*GIVEN, "--judge", judge_yaml(server))
    assert result.exit_code == 0, result.output
    assert "x1b" in result.stdout
    assert "\x1b" not in result.output


def test_a_changed_judge_exits_1_without_a_score() -> None:
    with loopback(lambda asked: says(asked, "8 4", f"m-{number(asked) // 50}")) as server:
        result = run(*GIVEN, "--judge", judge_yaml(server), "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "two models are two judges" in result.stderr
    assert not Path("runs/judged/llava_bench").exists()


def test_a_cap_on_cost_is_hard() -> None:
    price = {"prompt": 1000, "completion": 1000}
    with loopback(lambda asked: says(asked, "8 4")) as server:
        asked = ("--judge", judge_yaml(server, price=price), "--max-cost", "3")
        result = run(*GIVEN, *asked)
        tokens = sum(sum(call.tokens) for call in server.ledger)
    assert result.exit_code == 1, result.output
    assert tokens * 1000 / 1e6 <= 3
    assert result.stdout == ""


def test_a_second_model_is_judged_and_compared() -> None:
    rows = [{"question_id": n, "text": f"Other {n}."} for n in range(100)]
    write_lines(Path("other.jsonl"), rows)

    def judge(asked: Asked) -> Answer:
        return says(asked, "8 6" if "Other" in asked.prompt else "8 4")

    with loopback(judge) as server:
        asked = ("--judge", judge_yaml(server), "--json", "--second", "other.jsonl")
        found = json.loads(run(*GIVEN, *asked).stdout)
    assert (found["score"], found["second"]["score"]) == (50, 75)
    assert found["comparison"]["difference"] == 25
    assert Path("runs/judged/llava_bench/answers-reviews-second.jsonl").exists()


def test_a_judge_decides_an_ensemble() -> None:
    problems = {
        str(n): {
            "question": f"Question {n}?",
            "choices": ["one", "two"],
            "answer": n % 2,
            "hint": "",
            "image": None,
            "subject": "natural science",
            "grade": "grade3",
        }
        for n in range(4)
    }
    Path("problems.json").write_text(json.dumps(problems))
    Path("pid_splits.json").write_text(json.dumps({"test": list(problems)}))
    for name, letters in (("one", "AABA"), ("two", "ABAB")):
        rows = ({"question_id": str(n), "text": letter} for n, letter in enumerate(letters))
        write_lines(Path(f"{name}.jsonl"), rows)
    given = ("scienceqa", "--answers", "one.jsonl", "--second", "two.jsonl", "--data", ".")

    def judge(asked: Asked) -> Answer:
        return says(asked, f"The answer is {'AB'[number(asked) % 2]}.")

    with loopback(judge) as server:
        asked = (*given, "--ensemble", "judge", "--json")
        found = json.loads(run(*asked, "--judge", judge_yaml(server)).stdout)
        assert len(server.ledger) == 3
    assert (found["score"], found["upper_bound"], found["agreement"]) == (100, 100, 25)
    assert [member["score"] for member in found["members"]] == [25, 100]
    assert found["judges"] == [
        {"requested": "judge", "returned": "loopback-1", "n_valid": 3, "n_total": 3}
    ]
    verdicts = ("--verdicts", "runs/judged/scienceqa/one-verdicts.jsonl")
    assert json.loads(run(*asked, *verdicts).stdout)["score"] == 100


def test_a_teacher_writes_reference_answers() -> None:
    with loopback(lambda asked: says(asked, "Taught.")) as server:
        given = ("llava_bench", "--data", "questions.jsonl", "--context", "context.jsonl")
        result = run(*given, "--teacher", judge_yaml(server), "--out", "made.jsonl")
    assert result.exit_code == 0, result.output
    assert len(Path("made.jsonl").read_text().splitlines()) == 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("llava_bench --judge {judge}", "give --answers FILE"),
        ("llava_bench --answers answers.jsonl --judge no.yaml", "no.yaml: there is no such file"),
        ("llava_bench --answers answers.jsonl --judge {judge}", "give --data"),
        (
            "llava_bench --answers answers.jsonl --reference reference.jsonl --judge {judge}",
            "give --data",
        ),
        (
            "llava_bench --answers answers.jsonl --data questions.jsonl --judge {judge}",
            "give --context",
        ),
        ("llava_bench --reviews answers.jsonl --swap", "--swap is for --judge"),
        ("llava_bench --reviews answers.jsonl --max-cost 1", "--max-cost is for --judge"),
        ("mm_vet --answers answers.jsonl --context context.jsonl", "mm_vet has no --context"),
        (
            "generic --data answers.jsonl --answers answers.jsonl --judge {judge}",
            "generic needs no judge",
        ),
        ("llava_bench --teacher {judge} --data questions.jsonl", "give --out FILE"),
        ("llava_bench --answers answers.jsonl --judge {judge} --max-cost 0", "--offline does that"),
    ],
)
def test_wrong_input_exits_2_and_asks_nobody(arguments: str, words: str) -> None:
    with loopback() as server:
        result = run(*arguments.format(judge=judge_yaml(server)).split())
        assert server.ledger == []
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
