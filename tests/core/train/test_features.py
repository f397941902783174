"""Runs that keep what the frozen encoder sees, beside those that look anew.

Kernels may round by the size of the batch, and features come from other batches than those that
they are used in. So most runs here look at every image by itself, and then all is equal bit for
bit; one runs as users' runs do, and is equal but for rounding.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from isthmus.core.contracts import Features, Images
from isthmus.core.model.vision_tower import VisionTower
from isthmus.core.train.run import run
from isthmus.errors import ConfigError
from tests.core.train.listeners import Crash, Recorder, crash_at, metrics
from tests.core.train.test_ranks import torchrun
from tests.core.train.tiny import source, stage, tiny_run, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten records, the last of which shows the picture of the first."""
    folder = tmp_path_factory.mktemp("features")
    records = json.loads(write_data(folder, 9).read_text())
    records.append(records[0] | {"id": "again"})
    (folder / "data.json").write_text(json.dumps(records))
    return folder


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images of every call of an encoder in this process, but for those of the blank picture
    that a stage begins with, to count operations. It looks at them one by one."""
    counts: list[int] = []
    forward = VisionTower.forward

    def counted(self: VisionTower, images: Images) -> Features:
        if images.pixels.unique().tolist() != [128]:
            counts.append(len(images))
        runs = [forward(self, images.take([number])).values for number in range(len(images))]
        return Features(torch.cat(runs), images.grids)

    monkeypatch.setattr(VisionTower, "forward", counted)
    return counts


def settings(data: Path, out: Path, cache: Path | None = None, **fields: Any) -> dict[str, Any]:
    """Two epochs of the connector, three steps each."""
    features = {"features": {"cache": str(cache)}} if cache else {}
    own = {"batch": {"samples": 4, "micro_samples": 3}, "steps": None, "epochs": 2}
    only = stage(data, **own | features | fields.pop("stage", {}))
    return tiny_run(data, only, out=str(out), **fields)


def left(out: Path) -> dict[str, Any]:
    """What a run left: the lines of its course, but for operations, which are what features save,
    and every weight of its last checkpoint."""
    lines = {f"line {n}": line | {"flops": 0} for n, line in enumerate(metrics(out))}
    last = max((out / "checkpoints").iterdir())
    files = {path.name: load_file(path) for path in last.rglob("*.safetensors")}
    assert files
    return lines | {f"{file}/{n}": value for file, own in files.items() for n, value in own.items()}


def same(one: Any, other: Any) -> bool:
    """Whether two lines, or two weights, are the same bits."""
    return torch.equal(one, other) if isinstance(one, Tensor) else one == other


def close(one: Any, other: Any) -> bool:
    """Whether they are the same but for the rounding of fp32."""
    if isinstance(one, Tensor):
        return torch.allclose(other, one, rtol=1e-4, atol=1e-5)
    course = other["loss"] == pytest.approx(one["loss"], rel=1e-5)
    return course and other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)


def unlike(one: Path, other: Path, equal: Callable[[Any, Any], bool] = same) -> list[str]:
    """The lines and weights in which two runs differ."""
    mine, its = left(one), left(other)
    shared = {name for name in mine.keys() & its.keys() if equal(mine[name], its[name])}
    return sorted((mine.keys() | its.keys()) - shared)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_losses_and_weights_are_the_same_bits_without_and_with_features(
    data: Path, tmp_path: Path, encoded: list[int], precision: str
):
    cache = tmp_path / "cache"
    run(settings(data, tmp_path / "plain", precision=precision))
    encoded.clear()
    run(settings(data, tmp_path / "fills", cache, precision=precision))
    assert sum(encoded) == 9  # of 20 looks in two epochs
    encoded.clear()
    run(settings(data, tmp_path / "reads", cache, precision=precision))
    assert encoded == []
    assert unlike(tmp_path / "plain", tmp_path / "fills") == []
    assert unlike(tmp_path / "plain", tmp_path / "reads") == []


def test_batches_of_which_a_part_is_kept_are_the_same_bits_too(
    data: Path, tmp_path: Path, encoded: list[int]
):
    cache = tmp_path / "cache"
    some = {"data": [source(data) | {"limit": 4}], "epochs": 1}
    run(settings(data, tmp_path / "some", cache, stage=some))
    run(settings(data, tmp_path / "plain"))
    encoded.clear()
    run(settings(data, tmp_path / "all", cache))
    assert sum(encoded) == 5
    assert unlike(tmp_path / "plain", tmp_path / "all") == []


def test_workers_read_and_training_writes(data: Path, tmp_path: Path, encoded: list[int]):
    cache = tmp_path / "cache"
    run(settings(data, tmp_path / "plain"))
    run(settings(data, tmp_path / "fills", cache, workers=1))
    before = sorted(cache.rglob("*"))
    encoded.clear()
    run(settings(data, tmp_path / "reads", cache, workers=1))
    assert encoded == []
    assert sorted(cache.rglob("*")) == before
    assert unlike(tmp_path / "plain", tmp_path / "fills") == []
    assert unlike(tmp_path / "plain", tmp_path / "reads") == []


def test_batches_as_they_come_make_no_difference_but_rounding(data: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    some = {"data": [source(data) | {"limit": 4}], "epochs": 1}
    run(settings(data, tmp_path / "some", cache, stage=some))
    run(settings(data, tmp_path / "plain"))
    run(settings(data, tmp_path / "all", cache))
    assert unlike(tmp_path / "plain", tmp_path / "all", close) == []


def test_a_run_that_was_killed_goes_on_to_the_same_bits(data: Path, tmp_path: Path):
    """Also with batches as they come: what was computed before a checkpoint is kept with it."""
    saves = {"save_every": 2}
    run(settings(data, tmp_path / "whole", tmp_path / "one", stage=saves))
    killed = settings(data, tmp_path / "killed", tmp_path / "two", stage=saves)
    with pytest.raises(Crash):
        run(killed, events=crash_at("align", 3))
    run(killed, resume=True)
    assert unlike(tmp_path / "whole", tmp_path / "killed") == []


def test_validation_reads_features_too(data: Path, tmp_path: Path, encoded: list[int]):
    held_out = {"validation": {"data": [source(data)], "every": 2}}
    run(settings(data, tmp_path / "plain", stage=held_out))
    encoded.clear()
    run(settings(data, tmp_path / "kept", tmp_path / "cache", stage=held_out))
    assert sum(encoded) == 9
    assert unlike(tmp_path / "plain", tmp_path / "kept") == []


@pytest.mark.usefixtures("encoded")
def test_a_full_folder_changes_nothing_but_speed_and_is_said(data: Path, tmp_path: Path):
    cache = {"cache": str(tmp_path / "cache"), "max_gib": 1e-7}
    heard = Recorder()
    run(settings(data, tmp_path / "full", stage={"features": cache}), events=heard)
    run(settings(data, tmp_path / "plain"))
    assert unlike(tmp_path / "plain", tmp_path / "full") == []
    (note,) = heard.ended[0].notes
    assert f"{tmp_path / 'cache'} is full" in note
    assert "max_gib" in note


def test_a_stage_says_what_it_kept(data: Path, tmp_path: Path):
    heard = Recorder()
    run(settings(data, tmp_path / "one", tmp_path / "cache"), events=heard)
    run(settings(data, tmp_path / "two", tmp_path / "cache"), events=heard)
    assert heard.ended[0].notes == (f"features: 9 images added to {tmp_path / 'cache'}",)
    assert heard.ended[1].notes == ()


def test_stages_keep_the_features_of_the_encoder_they_find(
    data: Path, tmp_path: Path, encoded: list[int]
):
    """An encoder that has learnt meanwhile, and one that has not."""
    few = {"batch": {"samples": 5}, "epochs": 1, "steps": None}
    kept = {"features": {"cache": str(tmp_path / "cache")}, **few}
    stages = [
        stage(data, name="one", **kept),
        stage(data, name="two", **kept),
        stage(data, name="learns", train={"encoder": "full"}, **few),
        stage(data, name="three", **kept, train={"encoder": "frozen", "connector": "full"}),
    ]
    plain = [{k: v for k, v in one.items() if k != "features"} for one in stages]
    run(tiny_run(data, *plain, out=str(tmp_path / "plain")))
    encoded.clear()
    run(tiny_run(data, *stages, out=str(tmp_path / "kept")))
    assert sum(encoded) == 9 + 0 + 10 + 9
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert unlike(tmp_path / "plain", tmp_path / "kept") == []


@pytest.mark.slow
def test_two_processes_share_a_folder(data: Path, tmp_path: Path):
    for name, cache in (("plain", None), ("fills", "cache"), ("reads", "cache")):
        file = tmp_path / f"{name}.json"
        values = settings(data, tmp_path / name, cache and tmp_path / cache, workers=1)
        file.write_text(json.dumps(values))
        ran = torchrun("-m", "isthmus", "train", str(file))
        assert ran.returncode == 0, ran.stderr
        if name == "fills":
            before = sorted((tmp_path / "cache").rglob("*"))
    assert len(before) > 1
    assert sorted((tmp_path / "cache").rglob("*")) == before
    assert unlike(tmp_path / "plain", tmp_path / "fills", close) == []
    assert unlike(tmp_path / "plain", tmp_path / "reads", close) == []


@pytest.mark.parametrize(
    ("stage_fields", "run_fields", "said"),
    [
        ({"train": {"encoder": "full"}}, {}, "the encoder learns in this stage"),
        ({}, {"blind": True}, "a blind run looks at grey pictures alone"),
        ({"features": {"cache": "x", "max_gib": 0}}, {}, "must be a number above 0"),
    ],
)
def test_features_that_cannot_be_kept_are_refused_before_anything_is_loaded(
    data: Path, tmp_path: Path, stage_fields, run_fields, said
):
    values = settings(data, tmp_path / "run", tmp_path / "x", stage=stage_fields, **run_fields)
    with pytest.raises(ConfigError, match=rf"stages\[0\]\.features.*: .*{said}"):
        run(values)
    assert not (tmp_path / "run").exists()


def test_twins_in_a_batch_leave_the_bits_of_a_run_as_they_are(
    data: Path, tmp_path: Path, encoded: list[int], monkeypatch: pytest.MonkeyPatch
):
    """All ten samples in every step, the first picture twice, against one that never compares."""
    whole = {"batch": {"samples": 10}}
    run(settings(data, tmp_path / "once", stage=whole))
    assert encoded == [8, 8]  # two more are alike once they are of one size
    encoded.clear()
    monkeypatch.setattr("isthmus.core.data.pack.compared", lambda images: images)
    run(settings(data, tmp_path / "twice", stage=whole))
    assert encoded == [10, 10]
    assert unlike(tmp_path / "once", tmp_path / "twice") == []
