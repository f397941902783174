"""A run that is killed again and again, wherever it happens to be, and gone on with each time.

    python -m tests.core.train.killed_anywhere FOLDER SEED

writes `FOLDER/whole`, a run that nothing disturbed, and `FOLDER/0`, `FOLDER/1`, ... that end as it
does after many lives, and `FOLDER/kills.json`: for each of them, where its lives ended. Each life
is a process of its own, forked from one that has imported everything and trained nothing.

A life ends by SIGKILL as a place is reached for the n-th time: place and n are drawn from SEED.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from isthmus.core import config as configs
from isthmus.core.data.loader import StepLoader
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.train import progress
from isthmus.core.train.engine import Engine, Root
from isthmus.core.train.lines import LineFile
from isthmus.core.train.run import run
from isthmus.core.train.validation import Validation
from tests.core.checkpoint.killed_runs import in_a_child
from tests.core.train.tiny import source, stage, tiny_run, write_data

KILLS = 20
EPOCHS = 3
SAMPLES = 10

PLACES = {
    "data": (StepLoader, "load", 20),
    "forward": (Root, "forward", 60),
    "backward": (torch.Tensor, "backward", 36),
    "clip": (Engine, "_clip", 12),
    "optimizer": (torch.optim.AdamW, "step", 12),
    "line": (LineFile, "add", 28),
    "validation": (Validation, "_step", 8),
}
"""Place -> the call that is about to be made there, and how often a whole run makes it."""

SAVE = ("os.mkdir", "os.rename", "shutil.rmtree")
"""The same of a save, by audit events: some forty of them."""


def settings(folder: Path) -> dict[str, Any]:
    """Two stages of three epochs of two steps of three micro-batches, with everything on."""
    lora = {"type": "lora", "r": 2, "dropout": 0.1, "hand_over": "keep"}
    every_part = {"encoder": "full", "connector": "full", "llm": "full"}
    stages = [
        stage(
            folder,
            name=name,
            train=train,
            batch={"samples": 5, "micro_samples": 2},
            steps=None,
            epochs=EPOCHS,
            save_every=1,
            validation={"data": [source(folder)], "every": 4, "max_samples": 5},
        )
        for name, train in (("a", {"connector": "full", "llm": lora}), ("b", every_part))
    ]
    return tiny_run(folder, *stages, ledger=True)


class Death:
    """Kills this process as `place` is reached for the `count`-th time."""

    def __init__(self, place: str, count: int) -> None:
        self.place, self.count = place, count
        self.met: Counter[str] = Counter()
        sys.addaudithook(lambda event, args: self.reach("save") if event in SAVE else None)
        for name, (owner, attribute, _) in PLACES.items():
            setattr(owner, attribute, self.watched(name, getattr(owner, attribute)))

    def watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def reached(*args: Any, **kwargs: Any) -> Any:
            self.reach(name)
            return call(*args, **kwargs)

        return reached

    def reach(self, name: str) -> None:
        self.met[name] += 1
        if name == self.place and self.met[name] == self.count:
            os.kill(os.getpid(), signal.SIGKILL)


def live(config: dict[str, Any], out: Path, place: str = "", count: int = 0) -> int:
    """One life of a run, from where the one before it left it."""

    def work() -> None:
        progress.draw_curves = lambda metrics, picture: None
        death = Death(place, count)
        run(config | {"out": str(out)}, resume=True)
        out.with_suffix(".met").write_text(json.dumps(death.met))

    return in_a_child(work)


def main(folder: Path, seed: int) -> None:
    """All of it."""
    draw = random.Random(seed)
    write_data(folder, SAMPLES - 2, text_only=2)
    config = settings(folder)
    model = configs.load(ModelConfig, config["model"])
    build_model(model, texts=lambda: iter(["a word"]), seed=0)  # imports what children need
    gc.freeze()
    assert live(config, folder / "whole") == 0
    often = {name: count for name, (_, _, count) in PLACES.items()} | {"save": 40}
    # Every place at least twice; a kill in the first half of what is left lets lives add up.
    places = [*often, *often, *draw.choices([*often, "save"], k=KILLS - 2 * len(often))]
    draw.shuffle(places)
    kills: list[list[tuple[str, int]]] = []
    while places:
        kills.append([])
        out = folder / str(len(kills) - 1)
        while places:
            place, count = places[-1], draw.randint(1, often[places[-1]] // 2)
            ended = live(config, out, place, count)
            if ended == 0:
                break
            assert ended == -signal.SIGKILL, (place, count)
            kills[-1].append((place, count))
            places.pop()
        else:
            assert live(config, out) == 0
    (folder / "kills.json").write_text(json.dumps(kills))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]))
