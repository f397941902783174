"""Runs that broke off go on as if they had not; those that ended stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus.core.config import load as load_config
from isthmus.core.model.build import build_model
from isthmus.core.train.config import RunConfig
from isthmus.core.train.opening import open_stages, texts
from isthmus.core.train.run import run
from tests.core.train.listeners import Crash, Recorder, crash_at, metrics, weights
from tests.core.train.tiny import source, stage, tiny_run, write_data


@pytest.mark.parametrize("tuner", ["full", {"type": "lora", "r": 2, "hand_over": "keep"}])
def test_resume_after_a_crash_gives_equal_bytes_and_losses(tmp_path: Path, tuner: Any):
    write_data(tmp_path, 10)
    train = {"connector": "full", "llm": tuner}
    stages = (
        stage(tmp_path, save_every=2, validation={"data": [source(tmp_path)], "every": 2}),
        stage(tmp_path, name="instruct", train=train, steps=5, save_every=2),
    )
    whole = run(tiny_run(tmp_path, *stages, out=str(tmp_path / "whole")))

    broken = tiny_run(tmp_path, *stages, out=str(tmp_path / "broken"))
    with pytest.raises(Crash):
        run(broken, events=crash_at("align", 1))  # before any checkpoint: starts afresh
    with pytest.raises(Crash):
        run(broken, events=crash_at("align", 3), resume=True)
    with pytest.raises(Crash):
        run(broken, events=crash_at("instruct", 1), resume=True)
    heard = crash_at("instruct", 5)
    with pytest.raises(Crash):
        run(broken, events=heard, resume=True)
    assert heard.stages[0].first_step == 0
    heard = Recorder()
    resumed = run(broken, events=heard, resume=True)
    assert heard.stages[0].first_step == 4
    assert weights(resumed) == weights(whole)
    assert metrics(tmp_path / "broken") == metrics(tmp_path / "whole")


def test_published_weights_are_rounded_alike_in_a_run_that_was_resumed(tmp_path: Path):
    write_data(tmp_path, 8)
    folder = tmp_path / "published"
    opened = open_stages(load_config(RunConfig, tiny_run(tmp_path)))
    settings = load_config(RunConfig, tiny_run(tmp_path)).model
    llm = build_model(settings, texts=lambda: texts(opened)).llm
    llm.model.save_pretrained(folder)
    llm.tokenizer.save_pretrained(folder)
    model = tiny_run(tmp_path)["model"] | {"llm": {"type": "causal", "model": str(folder)}}
    # Frozen, the llm is kept in bf16, and a checkpoint refers to its folder; then it learns.
    stages = stage(tmp_path, steps=1), stage(tmp_path, name="b", train={"llm": "full"}, steps=2)
    fields = {"model": model, "precision": "bf16"}
    whole = run(tiny_run(tmp_path, *stages, **fields))
    broken = tiny_run(tmp_path, *stages, **fields, out=str(tmp_path / "broken"))
    with pytest.raises(Crash):
        run(broken, events=crash_at("b", 1))
    assert weights(run(broken, resume=True)) == weights(whole)


def test_resume_behind_a_damaged_checkpoint_says_so(tmp_path: Path):
    write_data(tmp_path, 4)
    config = tiny_run(tmp_path, stage(tmp_path, steps=1), stage(tmp_path, name="b", steps=1))
    final = run(config)
    whole = weights(final)
    file = final / "model" / "connector.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    heard = Recorder()
    assert run(config, events=heard, resume=True) == final
    assert weights(final) == whole
    (note,) = heard.stages[0].notes
    assert note.startswith("skipped a checkpoint: ")
    assert "connector.safetensors has changed" in note


def test_resume_of_a_finished_run_returns_its_checkpoint(tmp_path: Path):
    write_data(tmp_path, 4)
    config = tiny_run(tmp_path, stage(tmp_path, steps=1))
    final = run(config)
    heard = Recorder()
    assert run(config, resume=True, events=heard) == final
    assert heard.stages == []
