"""The demo's data, checked against the pictures' annotations by somebody who reads them plainly."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict

import pytest

from isthmus.core.config import load
from isthmus.synthesize import SynthesisConfig, synthesize
from tests.demo_scripts import DEMO, imported

CELLS = {"northwest": (0, 0), "northeast": (1, 0), "southwest": (0, 1), "southeast": (1, 1)}
SIDES = {"north": (1, 0), "south": (1, 1), "west": (0, 0), "east": (0, 1)}  # axis, place on it


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The demo's data at a sixteenth of its scenes, and the module of its digits."""
    folder = tmp_path_factory.mktemp("demo")
    with imported("digits", "scenes") as demo:
        demo.scenes.write(folder, train=500, tests=160, seed=0)
        yield folder, demo.digits


@pytest.fixture(scope="module")
def samples(made):
    """The instruction data that `isthmus synthesize` makes of it, by kind."""
    folder, _ = made
    places = {"scenes.path": folder / "annotations.json", "scenes.images": folder / "images",
              "teacher.file": folder / "replies.jsonl", "out": folder / "instruct"}  # fmt: skip
    overrides = [f"{place}={path}" for place, path in places.items()]
    synthesize(load(SynthesisConfig, DEMO / "synthesize.yaml", overrides))
    by_kind = defaultdict(list)
    for row in rows(folder / "instruct" / "samples.jsonl"):
        by_kind[row["kind"]].append(row)
    return by_kind


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def things(annotation):
    """(column, row) -> (digit, colour), from the boxes alone."""
    found = {}
    for item in annotation["instances"]:
        left, top, right, bottom = item["bbox"]
        cell = (int((left + right) / 2 > 0.5), int((top + bottom) / 2 > 0.5))
        assert cell not in found
        found[cell] = (int(item["category"]), item["colour"])
    return found


def answers(question, seen):
    """Every answer that the annotation allows, by reading the question."""
    if question == "How many digits are there?":
        return {str(len(seen))}
    if match := re.fullmatch(r"How many digits are in the (\w+)\?", question):
        return {str(len(on_side(seen, match[1])))}
    if match := re.fullmatch(r"Which digit is in the (\w+)\?", question):
        return {str(seen[CELLS[match[1]]][0])}
    if match := re.fullmatch(r"What colour is the digit in the (\w+)\?", question):
        return {seen[CELLS[match[1]]][1]}
    if match := re.fullmatch(r"Where is the (\d)\?", question):
        return {
            name for name, cell in CELLS.items() if cell in seen and seen[cell][0] == int(match[1])
        }
    if match := re.fullmatch(r"What colour is the (\d)\?", question):
        return {colour for digit, colour in seen.values() if digit == int(match[1])}
    if match := re.fullmatch(r"What colour is the (largest|smallest) digit\?", question):
        wanted = {"largest": max, "smallest": min}[match[1]](digit for digit, _ in seen.values())
        return {f"{digit} in {colour}" for digit, colour in seen.values() if digit == wanted}
    if match := re.fullmatch(r"What do the digits in the (\w+) add up to\?", question):
        a, b = on_side(seen, match[1])
        return {f"{a} + {b} = {a + b}"}
    match = re.fullmatch(r"Which digit is larger in the (\w+)\?", question)
    a, b = sorted(on_side(seen, match[1]))
    assert a != b
    return {f"{a} < {b}"}


def on_side(seen, side):
    """The digits in one half of the picture, in reading order."""
    axis, place = SIDES[side]
    cells = sorted((cell for cell in seen if cell[axis] == place), key=lambda cell: cell[::-1])
    return [seen[cell][0] for cell in cells]


def test_every_question_has_one_right_answer_and_it_is_the_one_given(made):
    folder, _ = made
    notes = {
        note["image"]: things(note)
        for note in json.loads((folder / "test_annotations.json").read_text())
    }
    asked = rows(folder / "questions.jsonl")
    assert len({row["question_id"] for row in asked}) == len(asked) == 160
    for row in asked:
        assert answers(row["text"], notes[row["image"]]) == {row["answer"]}, row


def test_every_turn_that_is_trained_on_is_true(made, samples):
    folder, _ = made
    notes = {
        note["image"]: things(note)
        for note in json.loads((folder / "annotations.json").read_text())
    }
    for name in ("conversation", "reasoning"):
        for record in samples[name]:
            said = [
                turn["value"].replace("<image>", "").strip() for turn in record["conversations"]
            ]
            for question, answer in zip(said[::2], said[1::2], strict=True):
                assert answers(question, notes[record["image"]]) == {answer}, record["id"]


def test_answers_of_a_type_come_equally_often(made):
    folder, _ = made
    counts = defaultdict(Counter)
    for row in rows(folder / "questions.jsonl"):
        # Reasoning shows its work: what counts is what it comes to.
        counts[row["category"]][row["answer"].split()[-1]] += 1
    assert {kind: sum(counter.values()) for kind, counter in counts.items()} == dict.fromkeys(
        counts, 20
    )
    for kind, counter in counts.items():
        assert max(counter.values()) - min(counter.values()) <= 1, (kind, counter)


def test_the_dataset_has_every_scene_and_rejects_nothing_that_the_teacher_said(made, samples):
    folder, _ = made
    kept = {kind: len(samples[kind]) for kind in samples}
    assert kept["conversation"] == 500
    assert kept["detail"] == 100
    refused = rows(folder / "instruct" / "rejected.jsonl")
    assert {row["reason"] for row in refused} == {"refused"}
    assert kept["reasoning"] + len(refused) == 500
    boxes = {n["id"]: n["instances"] for n in json.loads((folder / "annotations.json").read_text())}
    alone = {id for id, found in boxes.items() if len(found) == 1}
    # Of a digit that stands alone there is nothing to reason about.
    assert alone <= {row["id"].split("/")[0] for row in refused}


def test_how_many_digits_there_are_does_not_give_away_the_answer(made, samples):
    folder, _ = made
    lone = {
        note["image"]
        for note in json.loads((folder / "annotations.json").read_text())
        if len(note["instances"]) == 1
    }
    given = Counter(
        answer["value"]
        for record in samples["conversation"]
        if record["image"] in lone
        for question, answer in zip(
            record["conversations"][::2], record["conversations"][1::2], strict=True
        )
        if "How many digits are in the" in question["value"]
    )
    assert set(given) == {"0", "1"}
    assert abs(given["0"] - given["1"]) <= len(CELLS)


def test_no_scan_is_both_in_training_and_in_the_test(made):
    _, digits = made
    seen, unseen = digits.split_scans(0)
    assert len(unseen) == 297
    assert len(seen) + len(unseen) == 1797
    assert not {scan.tobytes() for _, scan in seen} & {scan.tobytes() for _, scan in unseen}


def test_the_ablation_table_says_what_the_scores_say():
    with imported("ablation") as demo:
        ablation = demo.ablation
    kinds = (*ablation.CONVERSATION, *ablation.REASONING)
    by = dict.fromkeys(kinds, 50.0) | dict.fromkeys(ablation.REASONING, 20.0)
    scores = {
        ablation.FULL: {"score": 80.0, "interval": [75.0, 85.0], "by": dict.fromkeys(kinds, 80.0)},
        ablation.NONE: {"score": 40.0, "interval": [35.04, 45.0], "by": by},
    }
    lines = ablation.table(scores, {ablation.FULL: "16,269", ablation.NONE: "0"}).splitlines()
    assert lines[2] == "| all three kinds | 16,269 | 80.0 | 75.0 to 85.0 | 100.0% | 80.0 | 80.0 |"
    assert lines[3].endswith("| 0 | 40.0 | 35.0 to 45.0 | 50.0% | 50.0 | 20.0 |")
