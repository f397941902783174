"""The demo's pictures: real handwritten digits, coloured and set into the four cells of a scene.

The digits are scikit-learn's `load_digits` (1,797 real 8x8 scans). Scans are split before any
scene is made, so that a test scene holds only scans that no training stage has seen.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

CELL = 16
# One word, so one token, for each place: of two words the second was learnt far later.
PLACES = ("northwest", "northeast", "southwest", "southeast")
LINES = {"north": (0, 1), "south": (2, 3), "west": (0, 2), "east": (1, 3)}
COLOURS = {
    "red": (255, 60, 50), "green": (60, 220, 70), "blue": (80, 120, 255),
    "yellow": (250, 230, 60), "pink": (255, 110, 210), "white": (245, 245, 245),
}  # fmt: skip
TEST_SCANS = 297
Scan = tuple[int, Image.Image]  # the digit, and its 8x8 grey picture
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Thing:
    """One coloured digit in one cell; `box` is (left, top, right, bottom) in 0-1."""

    digit: int
    colour: str
    place: int
    box: Box

    def __str__(self) -> str:
        return f"{self.digit} in {self.colour}"


@dataclass(frozen=True)
class Scene:
    """One picture and all that is in it, in reading order."""

    name: str
    things: tuple[Thing, ...]
    picture: Image.Image

    def captions(self, rng: random.Random) -> list[str]:
        """Three orders of words: place, digit, colour; digit, place, colour; digit, colour, place.

        What stands right after the digit is what the model learns to look up by the digit; with the
        first order alone, "Where is the 7?" stayed at chance through the whole of the last stage.
        """
        mixed = rng.sample(self.things, len(self.things))
        return [
            ", ".join(f"{PLACES[t.place]} {t.digit} {t.colour}" for t in self.things),
            ", ".join(f"{t.digit} {PLACES[t.place]} {t.colour}" for t in mixed),
            ", ".join(f"{t.digit} {t.colour} {PLACES[t.place]}" for t in mixed),
        ]

    def annotation(self, captions: list[str]) -> dict[str, Any]:
        """What an annotator would have written down: captions, and boxes with what is in them."""
        instances = [
            {"category": str(t.digit), "colour": t.colour, "bbox": [round(v, 4) for v in t.box]}
            for t in self.things
        ]
        return {"id": self.name, "image": self.name + ".png", "captions": captions,
                "instances": instances}  # fmt: skip


def split_scans(seed: int) -> tuple[list[Scan], list[Scan]]:
    """The scans for training, and the TEST_SCANS held out."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    grey = (digits.images * (255 / 16)).astype(np.uint8)
    scans = [(int(digits.target[i]), Image.fromarray(grey[i])) for i in order]
    return scans[TEST_SCANS:], scans[:TEST_SCANS]


def make_scene(name: str, scans: list[Scan], rng: random.Random) -> Scene:
    """Set one to four scans into the cells, each turned, scaled and shifted a little."""
    side = 2 * CELL
    canvas = np.full((side, side, 3), rng.randrange(40), np.float32)
    palette = rng.sample(list(COLOURS), 3)
    things = []
    for place in sorted(rng.sample(range(4), rng.choice((1, 2, 3, 3, 4, 4)))):
        digit, scan = rng.choice(scans)
        colour, size = rng.choice(palette), rng.randint(CELL - 1, CELL)
        ink = scan.resize((size, size), Image.Resampling.BICUBIC)
        ink = ink.rotate(rng.uniform(-8, 8), Image.Resampling.BILINEAR)
        left = place % 2 * CELL + rng.randint(0, CELL - size)
        top = place // 2 * CELL + rng.randint(0, CELL - size)
        alpha = np.asarray(ink, np.float32)[..., None] / 255
        spot = canvas[top : top + size, left : left + size]
        spot[:] = spot * (1 - alpha) + alpha * np.array(COLOURS[colour], np.float32)
        x0, y0, x1, y1 = ink.point(lambda v: 255 * (v > 48)).getbbox() or (0, 0, size, size)
        box = ((left + x0) / side, (top + y0) / side, (left + x1) / side, (top + y1) / side)
        things.append(Thing(digit, colour, place, box))
    return Scene(name, tuple(things), Image.fromarray(canvas.astype(np.uint8)))
