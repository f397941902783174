"""Memory grows by a little with each scene: 158,000 of them fit, and COCO's own files do.

Two sizes are measured, at which all caches are full; what lies between is what scenes take. The
whole of it: `python -m tests.synthesize.memory 158000`.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.synthesize.memory import measure

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

READ = """
import sys
from pathlib import Path
from isthmus.synthesize.config import ScenesConfig
from isthmus.synthesize.scenes import open_scenes
found = open_scenes(ScenesConfig(path=Path(sys.argv[1])))
assert sum(len(scene.instances) for scene in found) == int(sys.argv[2])
with open("/proc/self/status") as status:
    print(int(status.read().split("VmHWM:")[1].split()[0]) / 1024)
"""


def at(wanted: int, sizes: tuple[int, int], taken: tuple[float, float]) -> float:
    """MiB of so many, on the line through two that were measured."""
    (small, large), (less, more) = sizes, taken
    return more + (wanted - large) * (more - less) / (large - small)


@pytest.mark.timeout(900)
def test_158_000_scenes_take_less_than_500_mib(tmp_path: Path) -> None:
    sizes = (2500, 6500)
    taken = []
    for count in sizes:
        folder = tmp_path / str(count)
        folder.mkdir()
        asked, proved, kept = measure(folder, count)
        assert kept == count
        taken.append((asked, proved))
    for words, (less, more) in zip(("synthesize", "verify"), zip(*taken, strict=True), strict=True):
        whole = at(158_000, sizes, (less, more))
        print(f"{words}: {less:.0f} and {more:.0f} MiB; {whole:.0f} MiB for 158,000")
        assert whole < 500


def coco(folder: Path, images: int) -> int:
    """Files of COCO's shape in the folder: outlines, and boxes in no order; how many boxes."""
    rng, boxes = random.Random(0), images * 860 // 118
    shown = [
        {"id": i, "file_name": f"{i:012}.jpg", "width": 640, "height": 480, "coco_url": "x" * 60}
        for i in range(images)
    ]
    outline = [[round(rng.random() * 640, 2) for _ in range(60)]]
    drawn = [
        {
            "segmentation": outline,
            "iscrowd": 0,
            "image_id": rng.randrange(images),
            "bbox": [round(rng.random() * 500, 2), 20.5, 73.25, 38.5],
            "category_id": 1 + i % 80,
            "id": i,
        }
        for i in range(boxes)
    ]
    said = [
        {"image_id": i % images, "id": i, "caption": f"A dog near number {i}, which stands still."}
        for i in range(5 * images)
    ]
    kinds = [{"id": i, "name": f"thing {i}"} for i in range(1, 81)]
    for name, rows in (("instances", drawn), ("captions", said)):
        whole = {"info": {}, "images": shown, "annotations": rows, "categories": kinds}
        (folder / f"{name}_train.json").write_text(json.dumps(whole))
    return boxes


def test_cocos_118_000_images_take_less_than_350_mib(tmp_path: Path) -> None:
    """Of 550 MB of JSON; parsed at once they took 1,450."""
    sizes, taken = (2000, 8000), []
    for count in sizes:
        folder = tmp_path / str(count)
        folder.mkdir()
        boxes = coco(folder, count)
        command = [sys.executable, "-c", READ, str(folder), str(boxes)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        taken.append(float(done.stdout))
    whole = at(118_287, sizes, (taken[0], taken[1]))
    print(f"{taken[0]:.0f} and {taken[1]:.0f} MiB; {whole:.0f} MiB for 118,287")
    assert whole < 350
