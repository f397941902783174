"""The clips of the video demo, read back from their pixels by somebody who was not told; and that
one frame of them says nothing."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from isthmus.core.config import load
from isthmus.core.train.config import RunConfig
from tests.demo_scripts import DEMO, imported

STEPS = {(2, 0): "left", (1, 0): "right", (0, 2): "up", (0, 1): "down"}
"""(columns, rows) that a digit goes in a frame, counted round the field of three."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A few clips, and the module that made them."""
    folder = tmp_path_factory.mktemp("clips")
    with imported("video") as demo:
        demo.video.write(folder, clips=30, asked=40, seed=0)
        yield folder, demo.video


def cells(file: Path) -> dict[tuple[int, int], tuple[float, float]]:
    """(column, row) -> the hue of its ink as two numbers, of cells that have any."""
    pixels = np.asarray(Image.open(file), np.float32)
    found = {}
    for column, row in product(range(3), range(3)):
        cell = pixels[row * 16 : (row + 1) * 16, column * 16 : (column + 1) * 16].reshape(-1, 3)
        ink = cell - cell.min(axis=0)
        if ink.max() > 30:
            red, green, blue = ink.sum(axis=0) / ink.sum()
            found[column, row] = (float(red - green), float(green - blue))
    return found


def test_frames_show_the_move_that_the_answer_says(made):
    folder, video = made
    read = 0
    for record in json.loads((folder / "watches.json").read_text()):
        files = [folder / "clips" / record["video"] / f"{frame}.png" for frame in range(3)]
        seen = [cells(file) for file in files]
        if any(len(frame) != 2 for frame in seen):
            continue  # two digits in one cell: their hues mix
        ways = []
        for cell, hue in seen[0].items():
            path = [cell]
            for frame in seen[1:]:
                path.append(min(frame, key=lambda at: np.abs(np.subtract(frame[at], hue)).sum()))
            steps = {((b[0] - a[0]) % 3, (b[1] - a[1]) % 3) for a, b in pairwise(path)}
            assert len(steps) == 1
            places = ", ".join(video.PLACES[3 * row + column] for column, row in path)
            ways.append(f"{places}: {STEPS[steps.pop()]}")
        said = [turn["value"] for turn in record["conversations"]]
        answers = []
        for question, answer in zip(said[::2], said[1::2], strict=True):
            name = question.split("the ")[1].removesuffix(" move?")
            assert answer.startswith(f"{name} ")
            answers.append(answer.removeprefix(f"{name} "))
        assert sorted(ways) == sorted(answers)
        read += 1
    assert read > 10


def test_captions_name_the_cells_that_hold_ink(made):
    folder, video = made
    for record in json.loads((folder / "looks.json").read_text()):
        caption = record["conversations"][1]["value"]
        named = {word for word in caption.replace(",", "").split() if word in video.PLACES}
        inked = {
            video.PLACES[3 * row + column]
            for column, row in cells(folder / "clips" / record["image"])
        }
        assert named == inked


def test_where_a_digit_is_in_any_frame_says_nothing_of_its_way(made):
    """All starts and ways, each equally likely: every cell of every frame has every way once."""
    _, video = made
    blank = Image.new("L", (8, 8))
    for frame in range(video.FRAMES):
        counts = Counter(
            (mover.cell(frame), mover.way)
            for start in product(range(3), range(3))
            for way in video.WAYS
            for mover in [video.Mover(3, blank, "red", start, way)]
        )
        assert set(counts.values()) == {1}
        assert len(counts) == 9 * 4


def test_starts_and_ways_are_drawn_evenly_and_apart(made):
    _, video = made
    rng = random.Random(1)
    scans = [(digit, Image.new("L", (8, 8))) for digit in range(10)]
    movers = [video.make_movers(scans, rng) for _ in range(7200)]
    for which in range(2):
        counts = Counter((pair[which].start, pair[which].way) for pair in movers)
        # 200 are expected of each; 5 standard deviations are 71.
        assert len(counts) == 36
        assert all(abs(count - 200) < 71 for count in counts.values())
    apart = Counter((first.way, second.start) for first, second in movers)
    assert all(abs(count - 200) < 71 for count in apart.values())
    assert all(first.digit != second.digit for first, second in movers)


def test_each_way_is_right_equally_often_and_no_scan_is_asked_that_was_learnt(made):
    folder, video = made
    rows = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    assert Counter(row["answer"] for row in rows) == dict.fromkeys(video.WAYS, 10)
    seen, unseen = video.split_scans(0)
    assert not {scan.tobytes() for _, scan in seen} & {scan.tobytes() for _, scan in unseen}


def test_the_control_is_the_same_questions_from_one_frame(made):
    folder, _ = made
    stage = load(RunConfig, DEMO / "video.yaml").stages[1]
    assert stage.evaluate is not None
    there = {"data": folder / "questions.jsonl", "images": folder / "clips"}
    whole, one = (
        stage.evaluate.benchmarks[name].model_copy(update=there).build().questions()
        for name in ("from_frames", "from_one")
    )
    for full, single in zip(whole, one, strict=True):
        name = full.images[0].split("/")[0]
        assert full.images == tuple(f"{name}/{frame}.png" for frame in range(3))
        assert single.images == (f"{name}/1.png",)
        asked = full.prompt.split("\n")[-1]
        assert full.prompt == f"0.00s: <image>\n1.00s: <image>\n2.00s: <image>\n{asked}"
        assert single.prompt == f"1.00s: <image>\n{asked}"
        assert (full.references, full.id) == (single.references, single.id)
