"""Which way does the red 3 move? Clips of handwritten digits, asked from their frames and from one.

    python examples/demo/video.py [--folder demo-video] [--seed 0] [--set stages.1.steps=500]

Two digits stand on a field of 3 x 3 cells. Each moves by one cell from frame to frame, left, right,
up or down, and what leaves the field on one side comes back on the other. The cells in which digits
begin and the ways they move are drawn evenly, and independently of each other: so in every frame
each digit is in every cell equally often, whichever way it moves, and one frame says nothing about
the answer. Clips that are asked about are made of scans that no stage has seen, and each way is
right for a quarter of them. An answer shows its work, as the demo's reasoning does: where the digit
is in each frame, then the way; what counts is the way.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from digits import CELL, COLOURS, Scan, split_scans
from PIL import Image

HERE = Path(__file__).resolve().parent
SIDE = 3
"""Cells in a row and in a column."""
FRAMES = 3
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
PLACES = (
    *("northwest", "north", "northeast", "west", "middle", "east"),
    *("southwest", "south", "southeast"),
)
CLIPS, ASKED = 4000, 400


@dataclass(frozen=True)
class Mover:
    """One coloured digit of a clip: where it begins (column, row), and which way it moves."""

    digit: int
    ink: Image.Image
    colour: str
    start: tuple[int, int]
    way: str

    def __str__(self) -> str:
        return f"{self.colour} {self.digit}"

    def cell(self, frame: int) -> tuple[int, int]:
        """(column, row) in this frame."""
        right, down = WAYS[self.way]
        return (self.start[0] + frame * right) % SIDE, (self.start[1] + frame * down) % SIDE

    def place(self, frame: int) -> str:
        """The cell's name."""
        column, row = self.cell(frame)
        return PLACES[row * SIDE + column]


def make_movers(scans: list[Scan], rng: random.Random, way: str | None = None) -> list[Mover]:
    """Two movers of different digits and colours; the first one moves the given `way`."""
    first = rng.choice(scans)
    second = rng.choice([scan for scan in scans if scan[0] != first[0]])
    colours = rng.sample(list(COLOURS), 2)
    ways = (way or rng.choice(list(WAYS)), rng.choice(list(WAYS)))
    return [
        Mover(digit, scan, colour, (rng.randrange(SIDE), rng.randrange(SIDE)), goes)
        for (digit, scan), colour, goes in zip((first, second), colours, ways, strict=True)
    ]


def draw(movers: list[Mover], frame: int, dark: int, rng: random.Random) -> Image.Image:
    """One frame; where two digits meet, either is on top."""
    canvas = np.full((SIDE * CELL, SIDE * CELL, 3), dark, np.float32)
    for mover in rng.sample(movers, len(movers)):
        column, row = mover.cell(frame)
        ink = mover.ink.resize((CELL, CELL), Image.Resampling.BICUBIC)
        alpha = np.asarray(ink, np.float32)[..., None] / 255
        spot = canvas[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        spot[:] = spot * (1 - alpha) + alpha * np.array(COLOURS[mover.colour], np.float32)
    return Image.fromarray(canvas.astype(np.uint8))


def film(folder: Path, movers: list[Mover], rng: random.Random) -> None:
    """The folder of a clip's frames."""
    folder.mkdir(parents=True)
    dark = rng.randrange(40)
    for frame in range(FRAMES):
        draw(movers, frame, dark, rng).save(folder / f"{frame}.png", compress_level=1)


def answer(mover: Mover) -> str:
    """`red 3 west, middle, east: right`. It begins as captions do, so that the model finds the one
    of the two that is meant; and of the way alone it would learn nothing until it has found out how
    to look at two frames at once, since each by itself is no help."""
    return f"{mover} {', '.join(map(mover.place, range(FRAMES)))}: {mover.way}"


def question(mover: Mover) -> str:
    return f"Which way does the {mover} move?"


def said(*turns: tuple[str, str]) -> list[dict[str, str]]:
    """Questions and answers as LLaVA writes them."""
    return [
        {"from": who, "value": value}
        for turn in turns
        for who, value in zip(("human", "gpt"), turn, strict=True)
    ]


def captions(name: str, movers: list[Mover], rng: random.Random) -> list[dict[str, Any]]:
    """Of every frame of a clip, what is where: digit first, and place first."""
    records = []
    for frame in range(FRAMES):
        seen = [(str(mover), mover.place(frame)) for mover in rng.sample(movers, 2)]
        for order, pairs in enumerate((seen, [pair[::-1] for pair in seen])):
            caption = ", ".join(" ".join(pair) for pair in pairs)
            records.append(
                {
                    "id": f"{name}_{frame}_{order}",
                    "image": f"{name}/{frame}.png",
                    "conversations": said(("<image>\nWhat is in the picture?", caption)),
                }
            )
    return records


def write(out: Path, clips: int, asked: int, seed: int) -> None:
    """Clips below `out/clips`; captions of frames, questions with answers to learn from, and
    those that are asked."""
    rng = random.Random(seed)
    seen, unseen = split_scans(seed)
    looks, watches, rows = [], [], []
    for number in range(clips):
        name, movers = f"train_{number:05}", make_movers(seen, rng)
        film(out / "clips" / name, movers, rng)
        looks += captions(name, movers, rng)
        turns = [(question(mover), answer(mover)) for mover in rng.sample(movers, 2)]
        turns[0] = (f"<video>\n{turns[0][0]}", turns[0][1])
        watches.append({"id": name, "video": name, "conversations": said(*turns)})
    for number in range(asked):
        name, way = f"test_{number:05}", list(WAYS)[number % len(WAYS)]
        movers = make_movers(unseen, rng, way)
        film(out / "clips" / name, movers, rng)
        rows.append(
            {
                "question_id": name,
                "video": name,
                "text": f"<video>\n{question(movers[0])}",
                "answer": way,
            }
        )
    (out / "looks.json").write_text(json.dumps(looks))
    (out / "watches.json").write_text(json.dumps(watches))
    (out / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    """Data, both stages, and how many answers are right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo-video"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="as of `isthmus train`")
    given = parser.parse_args()
    data, out = (given.folder / "data").resolve(), given.folder / "run"
    write(data, CLIPS, ASKED, given.seed)
    places = {
        "stages.0.data.0": "looks.json",
        "stages.1.data.0": "watches.json",
        "stages.1.data.1": "watches.json",
    }
    options = [f"seed={given.seed}"]
    for place, file in places.items():
        options += [f"{place}.file={data / file}", f"{place}.images={data / 'clips'}"]
    for name in ("from_frames", "from_one"):
        place = f"stages.1.evaluate.benchmarks.{name}"
        options += [f"{place}.data={data / 'questions.jsonl'}", f"{place}.images={data / 'clips'}"]
    command = [sys.executable, "-m", "isthmus", "train", str(HERE / "video.yaml")]
    command += ["--out", str(out)]
    words = [word for each in (*options, *given.set) for word in ("--set", each)]
    subprocess.run([*command, *words], check=True)
    for line in (out / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "from_frames/accuracy" in row:
            print(
                f"step {row['step']}: right from {FRAMES} frames {row['from_frames/accuracy']:.1f} "
                f"%, from one {row['from_one/accuracy']:.1f} %, by chance {100 / len(WAYS):.1f} %"
            )


if __name__ == "__main__":
    main()
