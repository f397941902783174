"""Wherever a run stops, the rest of it gives the bytes that the whole run gives.

Where weights come from, their precision and what stages do to them decide what a checkpoint
holds and what is rebuilt around it, so all pairs of these meet here, at every kind of stop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus.core.config import load as load_config
from isthmus.core.model.build import build_model
from isthmus.core.train import progress
from isthmus.core.train.config import RunConfig
from isthmus.core.train.opening import open_stages, texts
from isthmus.core.train.run import run
from tests.core.train.listeners import Crash, crash_at, metrics
from tests.core.train.tiny import CLIP, source, stage, tiny_run, write_data

LORA = {"type": "lora", "r": 2, "dropout": 0.1}
KEEP, MERGE = LORA | {"hand_over": "keep"}, LORA | {"hand_over": "merge"}
TUNERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "frozen, then trained": ({}, {"llm": "full", "encoder": KEEP}),
    "full": ({"llm": "full", "encoder": "full"}, {"llm": "full", "encoder": "full"}),
    "lora merged": ({"llm": MERGE, "encoder": MERGE}, {"llm": MERGE}),
    "lora kept": ({"llm": KEEP, "encoder": KEEP}, {"llm": KEEP}),
    "trained, then frozen": ({"llm": "full", "encoder": KEEP}, {}),
}
"""What the two stages do to the parts, the connector aside, which always learns. Every second
one meets published weights in bf16, where what is frozen is rounded."""

STOPS = {"in the first stage": ("a", 3), "between them": ("b", 1), "in the second": ("b", 4)}
"""The step at which a run crashes; it saves after every second one."""

INSIDE = ("in the first stage", "in the second")

CASES = [
    (tuners, origin, precision, second)
    for number, tuners in enumerate(TUNERS)
    for origin, precision, second in (
        ("scratch", ("fp32", "bf16")[number % 2], INSIDE[number // 2 % 2]),
        ("published", ("bf16", "fp32")[number % 2], INSIDE[1 - number // 2 % 2]),
    )
]
"""Every pair of tuner, origin, precision and place of the stop, in as few runs as hold them."""


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of a tiny run's time."""
    monkeypatch.setattr(progress, "draw_curves", lambda metrics, picture: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records, and folders of weights as transformers saves them."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    folder = tmp_path_factory.mktemp("exact")
    write_data(folder, 10)
    settings = load_config(RunConfig, tiny_run(folder))
    llm = build_model(settings.model, texts=lambda: texts(open_stages(settings)), seed=7).llm
    llm.model.save_pretrained(folder / "llm")
    llm.tokenizer.save_pretrained(folder / "llm")
    CLIPVisionModel(CLIPVisionConfig(**CLIP["config"])).save_pretrained(folder / "clip")
    return folder


def config(data: Path, tuners: str, origin: str, precision: str) -> dict[str, Any]:
    batch = {"samples": 4, "micro_samples": 3}
    stages = (
        stage(
            data,
            name=name,
            train={"connector": "full", **train},
            batch=batch,
            steps=4,
            save_every=2,
            validation={"data": [source(data)], "every": 3, "max_samples": 4},
        )
        for name, train in zip("ab", TUNERS[tuners], strict=True)
    )
    values = tiny_run(data, *stages, precision=precision)
    if origin == "published":
        values["model"] |= {
            "encoder": {"type": "clip", "model": str(data / "clip")},
            "llm": {"type": "causal", "model": str(data / "llm")},
        }
    return values


def left_behind(out: Path) -> dict[str, bytes]:
    """Every file of every checkpoint; a run's own folder is named in two of them."""
    checkpoints = out / "checkpoints"
    return {
        str(file.relative_to(checkpoints)): file.read_bytes()
        for file in sorted(checkpoints.rglob("*"))
        if file.is_file() and file.name not in ("run.yaml", "manifest.json")
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tuners", "origin", "precision", "second"), CASES, ids=map(", ".join, CASES)
)
def test_stopped_run_ends_like_the_whole_one(
    tuners: str, origin: str, precision: str, second: str, data: Path, tmp_path: Path
) -> None:
    settings = config(data, tuners, origin, precision)
    run(settings | {"out": str(tmp_path / "whole")})
    for where in ("between them", second):
        name, step = STOPS[where]
        out = tmp_path / where
        with pytest.raises(Crash):
            run(settings | {"out": str(out)}, events=crash_at(name, step))
        run(settings | {"out": str(out)}, resume=True)
        assert metrics(out) == metrics(tmp_path / "whole"), where
        assert left_behind(out) == left_behind(tmp_path / "whole"), where
