"""Make Flickr8k ready for examples/flickr8k.yaml: photos in a folder, captions as LLaVA records.

    python examples/flickr8k_data.py FOLDER_WITH_FLICKR8K data/flickr8k

FOLDER_WITH_FLICKR8K holds `captions.jsonl` ({image, captions}) and `images_192.zip`. Photos are
split by a fixed seed: no photo, and so no caption, of the validation set is trained on. Each
caption of a training photo goes with its own view of it (a random crop, every second one
mirrored), or with `--views` of them, since so few photos are soon known by heart; validation
photos are shown whole.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

SIDE = 72
"""Pixels of a view; the encoder looks at 64."""
ZOOM = 0.8
"""A crop shows at least so much of a photo's side."""
HELD_OUT = 500
REQUESTS = ("Describe the photo.", "What does the photo show?", "Write a caption for the photo.")


def split(
    photos: list[dict[str, Any]], seed: int, held_out: int
) -> dict[str, list[dict[str, Any]]]:
    """Photos for training and those held out, by a shuffle that follows from the seed."""
    order = sorted(photos, key=lambda photo: photo["image"])
    random.Random(seed).shuffle(order)
    return {"validation": order[:held_out], "train": order[held_out:]}


def views(photo: Image.Image, count: int, rng: random.Random) -> Iterator[Image.Image]:
    """Random crops, every second one mirrored."""
    for number in range(count):
        side = round(photo.width * rng.uniform(ZOOM, 1.0))
        left, top = rng.randint(0, photo.width - side), rng.randint(0, photo.height - side)
        view = photo.crop((left, top, left + side, top + side))
        view = view.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        yield ImageOps.mirror(view) if number % 2 else view


def record(name: str, image: str, request: str, caption: str) -> dict[str, Any]:
    """One sample as LLaVA writes it."""
    return {
        "id": name,
        "image": image,
        "conversations": [
            {"from": "human", "value": f"<image>\n{request}"},
            {"from": "gpt", "value": caption.strip().removesuffix(" .") + "."},
        ],
    }


def prepare(
    source: Path, out: Path, seed: int, held_out: int = HELD_OUT, each: int = 1
) -> dict[str, int]:
    """Write `images/`, `train.json`, with so many views of `each` caption's photo, and
    `validation.json`; returns how many records there are of both."""
    photos = [json.loads(line) for line in (source / "captions.jsonl").read_text().splitlines()]
    rng = random.Random(seed)
    (out / "images").mkdir(parents=True, exist_ok=True)
    counts = {}
    with zipfile.ZipFile(source / "images_192.zip") as archive:
        inside = {Path(name).name: name for name in archive.namelist()}
        for part, members in split(photos, seed, held_out).items():
            records = []
            for photo in members:
                image = Image.open(io.BytesIO(archive.read(inside[photo["image"]]))).convert("RGB")
                stem, captions = Path(photo["image"]).stem, photo["captions"]
                if part == "validation":
                    shown = [image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)]
                else:
                    shown = list(views(image, each * len(captions), rng))
                names = [f"{stem}_{number}.jpg" for number in range(len(shown))]
                for name, view in zip(names, shown, strict=True):
                    view.save(out / "images" / name, quality=92)
                for number in range(max(len(names), len(captions))):
                    name, caption = names[number % len(names)], captions[number % len(captions)]
                    sample = f"{stem}_{number}"
                    records.append(record(sample, name, rng.choice(REQUESTS), caption))
            (out / f"{part}.json").write_text(json.dumps(records))
            counts[part] = len(records)
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=int, default=HELD_OUT, help="photos of validation")
    parser.add_argument("--views", type=int, default=1, help="of the photo, for each caption")
    given = parser.parse_args()
    counts = prepare(given.source, given.out, given.seed, given.held_out, given.views)
    for part, count in counts.items():
        print(f"{given.out / part}.json: {count:,} records")
