"""Validation against a plain loop over the samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from isthmus.core.checkpoint import load
from isthmus.core.config import load as load_config
from isthmus.core.contracts import Evaluated, Events, Sample, Tools
from isthmus.core.data.pack import collate, encode_sample
from isthmus.core.train.config import RunConfig
from isthmus.core.train.opening import open_stages
from isthmus.core.train.run import run
from isthmus.core.train.seeds import derive
from isthmus.core.train.shuffled import ShuffledPictures
from isthmus.errors import DataError
from tests.core.train.tiny import source, stage, tiny_run, write_data


class Heard(Events):
    """Keeps the last validation."""

    metrics: dict[str, float]

    def evaluated(self, event: Evaluated) -> None:
        self.metrics = dict(event.metrics)


@torch.no_grad()
def loss_by_hand(model: Any, tools: Tools, samples: list[Sample]) -> float:
    """Mean over supervised tokens of -log p, sample by sample, from all logits."""
    losses = []
    for sample in samples:
        pack = collate([encode_sample(sample, tools)])
        logits = model.llm.head(model.hidden(pack))
        losses += F.cross_entropy(logits, pack.targets, reduction="none")[
            pack.targets != -100
        ].tolist()
    return sum(losses) / len(losses)


def test_losses_are_those_of_a_plain_loop(tmp_path: Path):
    write_data(tmp_path, 10, text_only=3)
    validation = {"data": [source(tmp_path)], "max_samples": 11}
    config = tiny_run(
        tmp_path,
        stage(
            tmp_path,
            train={"connector": "full", "llm": "full", "encoder": "full"},
            batch={"samples": 4, "micro_samples": 3},
            optimizer={"lr": 1e-2},
            steps=30,
            validation=validation,
        ),
    )
    heard = Heard()
    final = run(config, events=heard)

    model = load(final).model()
    (opened,) = open_stages(load_config(RunConfig, config))
    tools = model.tools(opened.template)
    held_out = opened.held_out
    right = [held_out[0][index] for index in range(11)]
    mixed = ShuffledPictures(held_out, 11, derive(0, "validation", 0))
    shuffled = [mixed[index] for index in range(11)]
    assert heard.metrics["val_loss"] == pytest.approx(loss_by_hand(model, tools, right), abs=1e-5)
    assert heard.metrics["val_loss_shuffled"] == pytest.approx(
        loss_by_hand(model, tools, shuffled), abs=1e-5
    )
    assert heard.metrics["grounding"] > 0.01  # thirty steps teach some colours


def test_text_alone_has_no_grounding(tmp_path: Path):
    write_data(tmp_path, 1, text_only=3)
    heard = Heard()
    validation = {"data": [source(tmp_path)]}
    run(tiny_run(tmp_path, stage(tmp_path, steps=1, validation=validation)), events=heard)
    assert heard.metrics.keys() == {"val_loss"}


def test_validation_without_a_usable_sample_is_refused(tmp_path: Path):
    write_data(tmp_path, 4)
    settings = {
        "validation": {"data": [source(tmp_path)]},
        "max_length": 8,
        "max_skipped": 1.0,
        "steps": 1,
    }
    with pytest.raises(DataError, match=r"stages\[0\]\.validation\.data: no sample has an answer"):
        run(tiny_run(tmp_path, stage(tmp_path, **settings)))


def test_samples_that_validation_leaves_out_are_listed(tmp_path: Path):
    write_data(tmp_path / "held_out", 8)
    (tmp_path / "held_out" / "pictures" / "3.png").write_bytes(b"no picture")
    write_data(tmp_path, 4)
    validation = {"data": [source(tmp_path / "held_out")], "grounding": False}
    skip = {"on_bad_image": "skip", "max_skipped": 0.2, "steps": 2}
    run(tiny_run(tmp_path, stage(tmp_path, validation=validation, **skip)))
    (line,) = map(json.loads, (tmp_path / "run" / "skipped.jsonl").read_text().splitlines())
    assert (line["stage"], line["step"], line["id"]) == ("align", 2, "p3")
    assert "held_out" in line["origin"]
