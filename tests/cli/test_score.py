"""`isthmus score`: one JSON object or a table, clear errors, exit codes, and no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from isthmus.cli import app
from tests.evaluate.toys import write_lines
from tests.site_folder import Site

ANSWERS = ("cat", "two", "red", "no")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"question_id": n, "answer": answer, "category": "odd" if n % 2 else "even"}
        for n, answer in enumerate(ANSWERS)
    ]
    return write_lines(tmp_path / "questions.jsonl", rows)


def said(folder: Path, name: str, *texts: str) -> Path:
    rows = ({"question_id": n, "text": text} for n, text in enumerate(texts))
    return write_lines(folder / f"{name}.jsonl", rows)


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


def values(*arguments: Any, code: int = 0) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_json_is_one_object_with_everything(data: Path, tmp_path: Path) -> None:
    file = said(tmp_path, "a", "Cat.", "2", "", "no")
    found = values("exact_match", "--answers", file, "--data", data)
    low, high = found.pop("interval")
    assert 0 <= low <= 50 <= high <= 100
    assert found == {
        "benchmark": "exact_match",
        "score": 50,
        "by": {"even": 50, "odd": 50, "accuracy": 50},
        "n_valid": 3,
        "n_total": 4,
        "invalid": [2],
        "missing": [],
    }


def test_table_has_every_column_and_what_could_not_be_read(data: Path, tmp_path: Path) -> None:
    file = said(tmp_path, "a", "Cat.", "2", "", "no")
    result = run("exact_match", "--answers", file, "--data", data)
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0].startswith("exact_match: 50.00 (")
    assert {"even 50.00", "odd 50.00", "accuracy 50.00"} <= set(lines)
    assert lines[-2:] == ["3 of 4 could be read", "unreadable, and wrong: 2"]


def test_several_files_follow_one_option_or_repeat_it(tmp_path: Path) -> None:
    files = [
        write_lines(tmp_path / f"{model}.jsonl", [{"question_id": 1, "content": f"8 {model}"}])
        for model in (4, 6, 8)
    ]
    after = values("llava_bench", "--reviews", *files)
    again = [part for file in files for part in ("--reviews", file)]
    assert after == values("llava_bench", *again)
    assert after["runs"] == [50, 75, 100]
    assert after["score"] == 75
    assert values("mm_vet", "--grades", said(tmp_path, "g", "0.5", "1"))["score"] == 75


def test_reviews_of_no_published_set_are_said_to_be_all_that_there_is(tmp_path: Path) -> None:
    rows = [{"question_id": n, "content": "8 4"} for n in range(90)]
    file = write_lines(tmp_path / "r.jsonl", rows)
    assert run("llava_bench", "--reviews", file).stderr == ""
    write_lines(file, rows[:25])
    result = run("llava_bench", "--reviews", file)
    assert (result.exit_code, result.stderr) == (
        0,
        "note: the questions are the 25 of the file, not the 90 or 60 that are published; --data "
        "names them all\n",
    )


def test_missing_values_leave_a_number_and_exit_1(tmp_path: Path) -> None:
    rows = [{"question_id": n, "content": "8 4" if n else "Sorry."} for n in range(20)]
    file = write_lines(tmp_path / "r.jsonl", rows)
    found = values("llava_bench", "--reviews", file, code=1)
    assert (found["score"], found["missing"], found["n_valid"]) == (50, [0], 19)
    assert "1 of 20 values are missing" in run("llava_bench", "--reviews", file).stderr
    write_lines(file, ({**row, "content": "Sorry."} for row in rows))
    found = values("llava_bench", "--reviews", file, code=1)
    assert (found["score"], found["interval"], found["n_valid"]) == (None, None, 0)
    shown = run("llava_bench", "--reviews", file).stdout
    assert "llava_bench: none" in shown


def test_a_second_models_missing_values_are_told_too(tmp_path: Path) -> None:
    rows = [{"question_id": n, "content": "8 4"} for n in range(4)]
    one = write_lines(tmp_path / "a.jsonl", rows)
    other = write_lines(tmp_path / "b.jsonl", [*rows[:3], {"question_id": 3, "content": "?"}])
    found = values("llava_bench", "--reviews", one, "--second", other, code=1)
    assert (found["missing"], found["second"]["missing"]) == ([], [3])
    assert found["comparison"]["n_pairs"] == 3


def test_a_second_model_is_compared(data: Path, tmp_path: Path) -> None:
    one = said(tmp_path, "a", *ANSWERS)
    other = said(tmp_path, "b", "cat", "3", "red", "yes")
    found = values("exact_match", "--answers", one, "--second", other, "--data", data)
    assert (found["score"], found["second"]["score"]) == (100, 50)
    # Two answers differ, both for the first: one of two exchanges in four is as far apart.
    assert found["comparison"] == {"difference": -50, "p_value": 0.5, "n_pairs": 4}
    shown = run("exact_match", "--answers", one, "--second", other, "--data", data).stdout
    assert "odd       100.00  0.00" in shown


def test_ensembles_report_members_agreement_and_upper_bound(data: Path, tmp_path: Path) -> None:
    one, other = said(tmp_path, "a", "", "2", "red", ""), said(tmp_path, "b", *ANSWERS)
    third = said(tmp_path, "c", "cat", "2", "blue", "no")
    given = ("exact_match", "--answers", one, "--data", data, "--second", other)
    found = values(*given, "--ensemble", "complement")
    assert (found["score"], found["ensemble"], found["upper_bound"]) == (75, "complement", 100)
    assert [member["score"] for member in found["members"]] == [25, 100]
    assert found["agreement"] == 25
    found = values(*given, third, "--ensemble", "majority")
    assert (found["score"], len(found["members"])) == (75, 3)
    verdicts = write_lines(
        tmp_path / "v.jsonl", [{"question_id": n, "text": ANSWERS[n]} for n in (0, 1, 3)]
    )
    found = values(*given, "--ensemble", "judge", "--verdicts", verdicts)
    assert found["score"] == 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("exact_match", "exact_match needs --data. JSONL or JSON of rows"),
        ("exact_match --data {data}", "exact_match needs --answers FILE"),
        ("exact_match --data {data} --answers no.jsonl", "no.jsonl: there is no such file"),
        ("exact_match --data no --answers {file}", "no: there is no such file"),
        ("exact_match --data {data} --reviews {file}", "needs no judge"),
        ("exact_match --split x --answers {file}", "exact_match has no --split"),
        ("exact_mach --answers {file}", "Did you mean 'exact_match'?"),
        ("llava_bench --answers {file}", "give --reviews FILE instead of --answers"),
        ("llava_bench", "is scored by a judge's words: give --reviews FILE"),
        ("exact_match {file}", "which option is this file of?"),
        ("pope --data . --split rnd --answers {file}", "'random'"),
        ("exact_match --data {data} --answers {file} --ensemble best", "no 'best'"),
        ("exact_match --data {data} --answers {file} --ensemble judge", "give --second FILE"),
        ("exact_match --data {data} --answers {file} --verdicts x", "are for --ensemble judge"),
        ("exact_match --data {data} --answers {file} --set literl=1", "literal"),
    ],
)
def test_wrong_input_exits_2_and_says_what_to_write(
    arguments: str, words: str, data: Path, tmp_path: Path
) -> None:
    file = said(tmp_path, "a", *ANSWERS)
    result = run(*arguments.format(data=data, file=file).split())
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_fields_of_the_benchmark_are_set(data: Path, tmp_path: Path) -> None:
    file = said(tmp_path, "a", "CAT", "two", "red", "no")
    strict = ("exact_match", "--answers", file, "--set", "literal=true")
    assert values(*strict, "--data", data)["score"] == 75
    assert values(*strict, "--set", f"data={data}")["score"] == 75


def test_names_from_files_cannot_steer_a_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07"
    rows = [{"question_id": evil, "answer": "a", "category": evil}]
    data = write_lines(tmp_path / "q.jsonl", rows)
    given = ("exact_match", "--data", data, "--answers")
    answered = write_lines(tmp_path / "a.jsonl", [{"question_id": evil, "text": ""}])
    for result in (run(*given, answered), run(*given, said(tmp_path, "b", "a"))):
        assert "x1b" in result.output
        assert "\x1b" not in result.output


def test_a_strangers_benchmark_is_scored(site: Site, tmp_path: Path) -> None:
    source = '''
from isthmus import Benchmark, Outcome, Question, hookimpl


class Shouting(Benchmark, name="shouting"):
    """Share of answers in capitals."""

    def questions(self):
        return [Question(n) for n in range(2)]

    def outcome(self, question, reply):
        return Outcome.of(reply or None, right=reply.isupper())


@hookimpl
def register_benchmarks(register):
    register(Shouting)
'''
    site.install("isthmus-shouting", source)
    code = "import sys; from isthmus.cli import main; sys.argv[1:] = {}; main()"
    file = said(tmp_path, "a", "HELLO", "hello")
    arguments = ["score", "shouting", "--answers", str(file), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code.format(arguments)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{site.folder}:{Path(__file__).parents[2]}", "PATH": ""},
    )
    assert json.loads(done.stdout)["score"] == 50, done.stderr


def test_scoring_imports_no_torch(data: Path, tmp_path: Path) -> None:
    arguments = ["score", "exact_match", "--answers", str(said(tmp_path, "a", *ANSWERS))]
    code = (
        "import sys\nfrom isthmus.cli import main\n"
        f"sys.argv[1:] = {[*arguments, '--data', str(data)]}\n"
        "try: main()\n"
        "finally: print([m for m in ('torch', 'transformers', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
