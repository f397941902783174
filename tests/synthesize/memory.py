"""What the verb takes of memory, whatever the number of scenes.

    python -m tests.synthesize.memory 158000

makes so many scenes, asks an endpoint on this machine for a description of each, makes dataset and
report, proves them with `verify`, and prints the largest memory of both processes.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from isthmus.core.config import dump
from isthmus.core.scene import COCO
from tests.loopback import Answer, Asked, Loopback, completion
from tests.synthesize.toys import config, lines

VERB = """
import sys
from isthmus.cli import app
try:
    app(["synthesize", *sys.argv[1:]])
except SystemExit as end:
    assert not end.code, end.code
with open("/proc/self/status") as status:
    print("MiB", int(status.read().split("VmHWM:")[1].split()[0]) / 1024)
"""
COLOURS = ("red", "green", "blue", "white", "black", "brown")


def scene(number: int) -> dict[str, object]:
    """Five captions and seven boxes, as many as COCO's scenes have."""
    rng = random.Random(number)
    boxes = [
        {"category": rng.choice(COCO), "bbox": [i / 9, 0.1, i / 9 + 0.1, 0.5]} for i in range(7)
    ]
    captions = [
        f"A {rng.choice(COLOURS)} {each['category']} in a street of the {number}th town, where a "
        "few people are on their way."
        for each in boxes[:5]
    ]
    return {
        "id": f"{number:012}",
        "image": f"{number:012}.jpg",
        "captions": captions,
        "instances": boxes,
    }


def say(asked: Asked) -> Answer:
    """Some thirty words that are true of the scene, and alike in no two."""
    what = re.findall(r"A (\w+) ([\w ]+) in a street of the (\d+)th", asked.prompt)
    seen = ", ".join(f"a {thing} that is {hue}" for hue, thing, _ in what)
    text = f"In the street of town {what[0][2]} there are {seen}, and people on their way."
    answer = Answer(body=json.dumps(completion(asked, text)).encode())
    asked.body, asked.headers, asked.prompt = {}, {}, ""  # the ledger is not to grow
    return answer


def serve() -> None:
    """Until killed; prints the address."""
    with Loopback(say) as server:
        print(server.url, flush=True)
        threading.Event().wait()


def peak(*words: str) -> float:
    """MiB of the verb with these words, at most."""
    command = [sys.executable, "-c", VERB, *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split("MiB ")[-1])


def measure(folder: Path, count: int) -> tuple[float, float, int]:
    """MiB of `synthesize` and of `verify` at most, and how many samples there are."""
    command = [sys.executable, "-m", "tests.synthesize.memory"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        teacher = {"type": "openai", "model": "m", "base_url": url}
        made = config(folder, [], teacher=teacher, recipes=[{"type": "detail"}],
                      ask={"concurrency": 64})  # fmt: skip
        lines(folder / "scenes.jsonl", map(scene, range(count)))
        yaml = folder / "memory.yaml"
        yaml.write_text(dump(made))
        asking = peak(str(yaml))
        proving = peak("verify", str(made.out))
        server.terminate()
    with (made.out / "samples.jsonl").open("rb") as stream:
        return asking, proving, sum(1 for _ in stream)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        serve()
    else:
        with tempfile.TemporaryDirectory() as place:
            asked, proved, kept = measure(Path(place), int(sys.argv[1]))
        print(f"synthesize: {asked:.0f} MiB, verify: {proved:.0f} MiB, {kept:,} samples")
