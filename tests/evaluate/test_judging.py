"""Judges are instruments: what they did not say is missing, what they said is not asked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.core.chat import Journal
from isthmus.errors import DataError, InputError, OutOfBudget, WorkError
from isthmus.evaluate.judging import Jury, judge_file
from isthmus.evaluate.jury import read_jury
from isthmus.evaluate.reviews import judged_by
from isthmus.evaluate.scoring import open_runs, score
from isthmus.plugins.benchmarks.llava_bench.benchmark import LlavaBench
from isthmus.plugins.benchmarks.mm_vet import MmVet
from tests.evaluate.bench import bench, config, judged, jury_of, number, says, swapped
from tests.loopback import Answer, Asked, error, loopback


@pytest.mark.parametrize("percent", [0, 1, 50, 100])
@pytest.mark.parametrize("status", [500, 400])
def test_failed_calls_are_missing_values_and_the_others_make_the_score(
    percent: int, status: int, tmp_path: Path
) -> None:
    def judge(asked: Asked) -> Answer:
        # Those that fail would have been the model's best.
        bad = number(asked) < percent
        return error(status, "ill") if bad else says(asked, "8 4\nAssistant 2 deserves 10")

    with loopback(judge) as server:
        run, by = judged(bench(tmp_path, 100), jury_of(server.url))
    found = score(LlavaBench.Config().build(), [run])
    assert found.score == (None if percent == 100 else 50)
    assert found.missing == tuple(range(percent))
    assert found.too_many_missing == (percent > 1)
    assert (found.interval is None) == (percent == 100)
    assert by["judges"][0]["n_valid"] == 100 - percent


@pytest.mark.parametrize("half", [False, True])
def test_a_call_that_fails_now_and_then_is_made_again(half: bool, tmp_path: Path) -> None:
    def judge(asked: Asked) -> Answer:
        ill = asked.before == 0 and (half or number(asked) == 7)
        return error(500, "ill") if ill else says(asked, "8 4")

    with loopback(judge) as server:
        run, _ = judged(bench(tmp_path, 40), jury_of(server.url))
    assert not any(outcome.is_missing for outcome in run.outcomes)


def test_judging_again_asks_nobody_and_writes_the_same_bytes(tmp_path: Path) -> None:
    def judge(asked: Asked) -> Answer:
        if number(asked) == 3:
            return error(500, "ill")
        return says(asked, f"8 {number(asked) % 10}\nWarum? Dar\u00fcm.")

    folder = bench(tmp_path, 12)
    with loopback(judge) as server:
        first = judged(folder, jury_of(server.url, swap=True))
        written = (folder / "reviews.jsonl").read_bytes()
        jury = jury_of(server.url, swap=True)
    (folder / "reviews.jsonl").unlink()
    again = judged(folder, jury, offline=True)
    assert (folder / "reviews.jsonl").read_bytes() == written
    assert again[1] == first[1]
    assert again[0].outcomes == first[0].outcomes


def test_reviews_that_were_written_read_back_to_the_same_numbers(tmp_path: Path) -> None:
    def judge(asked: Asked) -> Answer:
        n = number(asked)
        return says(asked, "?" if n == 5 else f"{1 + n % 9} {1 + (n * 7 + swapped(asked)) % 10}")

    folder = bench(tmp_path, 30)
    with loopback(judge) as server, loopback(judge) as other, loopback(judge) as third:
        jury = jury_of(server.url, other.url, third.url, swap=True)
        run, by = judged(folder, jury)
    benchmark = LlavaBench.Config().build()
    (read,) = open_runs(benchmark, [folder / "reviews.jsonl"])
    assert score(benchmark, [read]) == score(benchmark, [run])
    assert judged_by(benchmark, read) == by
    assert score(benchmark, [read]).missing == (5,)


def test_the_returned_model_is_recorded_and_a_change_is_an_error(tmp_path: Path) -> None:
    folder = bench(tmp_path, 20)
    changed = False

    def judge(asked: Asked) -> Answer:
        return says(asked, "8 4", f"judge-2024-{'11' if changed and number(asked) > 9 else '05'}")

    with loopback(judge) as server:
        _, by = judged(folder, jury_of(server.url))
        assert by["judges"] == [
            {"requested": "judge-0", "returned": "judge-2024-05", "score": 50, "n_valid": 20}
        ]
        (folder / "journal.sqlite").unlink()
        (folder / "reviews.jsonl").unlink()
        changed = True
        with pytest.raises(WorkError, match="two models are two judges"):
            judged(folder, jury_of(server.url))
    assert not (folder / "reviews.jsonl").exists()


def test_a_change_between_two_sets_of_answers_is_one_too(tmp_path: Path) -> None:
    models = iter(["one"] * 2 + ["two"] * 2)
    folder = bench(tmp_path, 2)
    made = config(folder).build()
    with (
        loopback(lambda asked: says(asked, "8 4", next(models))) as server,
        Journal(tmp_path / "journal.sqlite") as journal,
    ):
        jury = Jury(jury_of(server.url), journal)
        judge_file(made, folder / "answers.jsonl", jury, folder / "a.jsonl")
        bench(tmp_path, 2, "Other {}.".format)
        with pytest.raises(WorkError, match="'one' and then 'two'"):
            judge_file(made, folder / "answers.jsonl", jury, folder / "b.jsonl")


def test_a_cap_stops_before_it_is_exceeded_and_the_same_run_goes_on(tmp_path: Path) -> None:
    folder = bench(tmp_path, 6)
    with loopback(lambda asked: says(asked, "8 4")) as server:
        ask = {"max_tokens": 3250, "concurrency": 1}
        with pytest.raises(OutOfBudget):
            judged(folder, jury_of(server.url, ask=ask, parameters={"max_tokens": 2000}))
        before = len(server.ledger)
        run, _ = judged(folder, jury_of(server.url, parameters={"max_tokens": 2000}))
        assert 0 < before < len(server.ledger) == 6
    assert run.reads == ["8 4"] * 6


def test_what_cannot_be_asked_is_an_error_before_anybody_is_asked(tmp_path: Path) -> None:
    folder = bench(tmp_path, 3)
    with loopback() as server:
        jury = jury_of(server.url)
        for option in ("context", "reference"):
            lacking = config(folder).model_copy(update={option: None}).build()
            with pytest.raises(DataError, match=f"give --{option}"):
                judged(folder, jury, lacking)
        (folder / "mm-vet.json").write_text(
            json.dumps({str(n): VET | {"imagename": "a"} for n in range(3)})
        )
        vet = MmVet.Config(data=folder / "mm-vet.json").build()
        with pytest.raises(InputError, match="no two can be swapped"):
            judged(folder, jury_of(server.url, swap=True), vet)
        assert server.ledger == []


VET = {"question": "Question 1?", "answer": "2", "capability": ["rec", "ocr"]}


@pytest.mark.parametrize("structured", [False, True])
def test_mm_vet_is_graded_and_its_grades_read_back(structured: bool, tmp_path: Path) -> None:
    folder = bench(tmp_path, 3)
    (folder / "mm-vet.json").write_text(
        json.dumps({str(n): VET | {"imagename": "a"} for n in range(3)})
    )
    vet = MmVet.Config(data=folder / "mm-vet.json").build()
    reply = '{"grade": 0.5}' if structured else "0.5"
    with loopback(lambda asked: says(asked, reply)) as server:
        two = [
            {"type": "openai", "model": m, "base_url": server.url, "structured": structured}
            for m in ("a", "b")
        ]
        run, by = judged(folder, read_jury(json.dumps(two)), vet)
    plain = MmVet.Config().build()
    found = score(plain, open_runs(plain, [folder / "reviews.jsonl"]))
    assert found.by == score(vet, [run]).by == {"rec": 50, "ocr": 50, "ocr+rec": 50, "total": 50}
    assert [judge["requested"] for judge in by["judges"]] == ["a", "b"]
