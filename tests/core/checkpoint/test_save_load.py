"""A checkpoint gives back the model it was made of, or says why it cannot."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from isthmus.core import checkpoint
from isthmus.core.checkpoint import TrainerState, weights, weights_hash
from isthmus.core.config import validate_part
from isthmus.core.contracts import Segments
from isthmus.errors import CheckpointError, WorkError

RUN = "template: plain\nstages: []\n"
Build = Callable[..., Any]


def tensors_of(model: Any) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": tensor.clone()
        for part, module in model.parts().items()
        for name, tensor in module.state_dict().items()
    }


def same(one: Any, other: Any) -> bool:
    first, second = tensors_of(one), tensors_of(other)
    return first.keys() == second.keys() and all(
        torch.equal(tensor, second[name]) and tensor.dtype == second[name].dtype
        for name, tensor in first.items()
    )


def test_a_model_comes_back_bit_for_bit_with_its_tokenizer(tmp_path: Path, build: Build) -> None:
    model = build(seed=3)
    folder = checkpoint.save(tmp_path / "01-align-000001", model, RUN)
    opened = checkpoint.load(folder)
    loaded = opened.model()
    assert same(model, loaded)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert opened.run == RUN
    text = "a cat caf\u00e9 </s>"
    assert loaded.llm.tokenizer(text).input_ids == model.llm.tokenizer(text).input_ids
    ids = torch.tensor(model.llm.tokenizer(text).input_ids)
    segments = Segments((len(ids),))
    expected = model.eval().llm(model.llm.embed(ids), segments)
    assert torch.equal(loaded.llm(loaded.llm.embed(ids), segments), expected)


def test_the_folder_holds_what_is_promised_and_no_pickle(tmp_path: Path, build: Build) -> None:
    state = TrainerState("align", 0, 1, data={"epoch": 0}, fingerprints={"a.json": "f"})
    folder = checkpoint.save(
        tmp_path / "run" / "checkpoints" / "01-align-000001",
        build(),
        {"template": "plain", "lr": 1e-5, "word": "1e-5"},
        trainer=state,
        optimizer={"connector.w/exp_avg": torch.ones(2)},
        objective={"temperature": torch.ones(())},
    )
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "manifest.json",
        "model.yaml",
        "model/connector.safetensors",
        "model/encoder.safetensors",
        "model/llm.safetensors",
        "objective.safetensors",
        "optimizer.safetensors",
        "run.yaml",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "trainer.json",
    }
    opened = checkpoint.load(tmp_path / "run")
    assert opened.folder == folder
    assert opened.trainer is not None
    assert (opened.trainer.data, opened.trainer.fingerprints) == ({"epoch": 0}, {"a.json": "f"})
    assert opened.trainer.versions["torch"] == torch.__version__
    assert "isthmus" in opened.trainer.plugins
    assert torch.equal(opened.optimizer()["connector.w/exp_avg"], torch.ones(2))
    assert torch.equal(opened.objective()["temperature"], torch.ones(()))
    listed = json.loads((folder / "manifest.json").read_text())
    assert set(listed["files"]) == files - {"manifest.json"}


def test_saving_twice_gives_equal_bytes(tmp_path: Path, build: Build) -> None:
    model = build()
    first, second = (checkpoint.save(tmp_path / f"01-a-{i}", model, RUN) for i in (1, 2))
    for path in first.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_a_part_in_another_precision_keeps_it(tmp_path: Path, build: Build) -> None:
    model = build()
    model.encoder.to(torch.bfloat16)
    assert same(model, checkpoint.load(checkpoint.save(tmp_path / "01-a-1", model, RUN)).model())


def test_only_some_parts_can_be_built(tmp_path: Path, build: Build) -> None:
    model = build()
    opened = checkpoint.load(checkpoint.save(tmp_path / "01-a-1", model, RUN))
    loaded = opened.model(only={"encoder"})
    assert set(loaded.parts()) == {"encoder"}
    assert weights_hash(loaded.encoder) == weights_hash(model.encoder)


def test_a_connector_without_weights_needs_no_file(tmp_path: Path, build: Build) -> None:
    model = build(connector={"type": "identity"})
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN)
    assert not (folder / "model" / "connector.safetensors").exists()
    assert same(model, checkpoint.load(folder).model())


def test_an_unchanged_part_from_a_folder_is_referenced(
    tmp_path: Path, build: Build, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = build(encoder={"type": "clip", "model": "./clip"})
    hashes = {name: weights_hash(part) for name, part in model.parts().items()}
    folder = checkpoint.save(tmp_path / "run" / "01-a-1", model, RUN, unchanged=hashes)
    assert not (folder / "model" / "encoder.safetensors").exists()
    assert (folder / "model" / "llm.safetensors").exists()
    monkeypatch.chdir(folder)
    opened = checkpoint.load(folder)
    assert opened.unchanged == {"encoder": hashes["encoder"]}
    loaded = opened.model()
    assert same(model, loaded)
    again = checkpoint.save(tmp_path / "run" / "01-a-2", loaded, RUN, unchanged=opened.unchanged)
    assert same(model, checkpoint.load(again).model())


def test_a_reference_that_changed_is_refused(
    tmp_path: Path, build: Build, clip_folder: Path
) -> None:
    model = build(encoder={"type": "clip", "model": str(clip_folder)})
    unchanged = {"encoder": weights_hash(model.encoder)}
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN, unchanged=unchanged)
    file = clip_folder / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("layers.0.mlp.fc1.weight"))
    tensors[name][0, 0] += 1e-3
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"encoder is referenced.*{clip_folder}.*sha256"):
        checkpoint.load(folder).model()


def test_a_reference_that_is_gone_names_itself(
    tmp_path: Path, build: Build, clip_folder: Path
) -> None:
    model = build(encoder={"type": "clip", "model": str(clip_folder)})
    unchanged = {"encoder": weights_hash(model.encoder)}
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN, unchanged=unchanged)
    clip_folder.rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=rf"refers to encoder from {clip_folder}"):
        checkpoint.load(folder).model()


def test_a_changed_part_is_copied_and_needs_its_folder_no_more(
    tmp_path: Path, build: Build, clip_folder: Path
) -> None:
    model = build(encoder={"type": "clip", "model": str(clip_folder)})
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN)
    clip_folder.rename(tmp_path / "elsewhere")
    assert same(model, checkpoint.load(folder).model())


def test_weights_that_a_tuner_added_come_back(tmp_path: Path, build: Build) -> None:
    model = build()
    lora = validate_part("tuner", {"type": "lora", "r": 2, "hand_over": "keep"})
    lora.build().apply(model.llm)
    torch.manual_seed(1)
    for parameter in model.llm.parameters():
        parameter.data = torch.randn_like(parameter)
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN, tuners={"llm": [lora]})
    opened = checkpoint.load(folder)
    assert opened.tuners == {"llm": (lora,)}
    assert same(model, opened.model())


def test_published_weights_with_additions_are_referenced_and_the_additions_copied(
    tmp_path: Path, build: Build, clip_folder: Path
) -> None:
    model = build(encoder={"type": "clip", "model": str(clip_folder)})
    unchanged = {"encoder": weights_hash(model.encoder)}
    lora = validate_part("tuner", {"type": "lora", "r": 2, "hand_over": "keep"})
    lora.build().apply(model.encoder)
    for name, parameter in model.encoder.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter)
    settings = {"unchanged": unchanged, "tuners": {"encoder": [lora]}}
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN, **settings)
    copied = load_file(folder / "model" / "encoder.safetensors")
    assert copied
    assert all("lora_" in name for name in copied)
    opened = checkpoint.load(folder)
    loaded = opened.model()
    assert same(model, loaded)
    again = checkpoint.save(
        tmp_path / "01-a-2", loaded, RUN, unchanged=opened.unchanged, tuners=opened.tuners
    )
    assert same(model, checkpoint.load(again).model())


def test_missing_and_unexpected_weights_are_errors(tmp_path: Path, build: Build) -> None:
    model = build()
    states = {"connector": dict(model.connector.state_dict())}
    name, tensor = states["connector"].popitem()
    states["connector"][name + "_x"] = tensor
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN, states=states)
    with pytest.raises(CheckpointError, match=rf"missing: {name}; unexpected: {name}_x"):
        checkpoint.load(folder).model()


def test_every_damaged_file_makes_an_older_checkpoint_the_newest(
    tmp_path: Path, build: Build
) -> None:
    model = build()
    older = checkpoint.save(tmp_path / "01-a-1", model, RUN)
    newer = checkpoint.save(tmp_path / "01-a-2", model, RUN)
    for path in [p for p in newer.rglob("*") if p.is_file()]:
        good = path.read_bytes()
        middle = len(good) // 2
        for bad in (
            None,
            good[:middle],
            good[:middle] + bytes([good[middle] ^ 4]) + good[middle + 1 :],
        ):
            path.unlink() if bad is None else path.write_bytes(bad)
            opened = checkpoint.load(tmp_path)
            assert opened.folder == older
            assert len(opened.skipped) == 1
            assert str(newer) in opened.skipped[0]
        path.write_bytes(good)
    assert checkpoint.load(tmp_path).folder == newer


def test_a_planted_pickle_is_never_read(tmp_path: Path, build: Build) -> None:
    folder = checkpoint.save(tmp_path / "01-a-1", build(), RUN)
    path = folder / "model" / "llm.safetensors"
    torch.save({"x": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(folder)


STEPS = {
    "fsync": (os, "fsync"),
    "rename": (pathlib.Path, "replace"),
    "folder": (pathlib.Path, "mkdir"),
    "text": (pathlib.Path, "write_text"),
    "weights": (weights, "save_file"),
}


@contextmanager
def failing(step: str, at: int, error: BaseException) -> Iterator[list[int]]:
    """The `at`-th call of this step fails; yields how often it was called."""
    owner, name = STEPS[step]
    original = getattr(owner, name)
    calls = [0]

    def call(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            raise error
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, call)
        yield calls


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("again", [False, True], ids=["new", "replaced"])
def test_whatever_fails_a_whole_checkpoint_stays(
    step: str, again: bool, tmp_path: Path, build: Build
) -> None:
    old, new = build(seed=1), build(seed=2)
    parent = tmp_path / "checkpoints"
    checkpoint.save(parent / "01-a-1", old, RUN)
    target = parent / ("01-a-1" if again else "01-a-2")
    at = 0
    while True:
        at += 1
        error = OSError(errno.ENOSPC, "No space left on device")
        with failing(step, at, error) as calls:
            message = failure_of_a_save(target, new)
        if message is None:
            break
        assert calls[0] >= at
        assert "No space left on device" in message
        opened = checkpoint.load(parent)
        assert opened.skipped == ()
        assert same(opened.model(), old) or same(opened.model(), new)
        assert not [path for path in parent.iterdir() if path.name.startswith(".")]
        checkpoint.save(parent / "01-a-1", old, RUN)
        shutil.rmtree(parent / "01-a-2", ignore_errors=True)
    assert at > 1, "the step was never taken"
    assert same(checkpoint.load(target).model(), new)


def failure_of_a_save(target: Path, model: Any) -> str | None:
    """The message of a save that failed, or None."""
    try:
        checkpoint.save(target, model, RUN, trainer=TrainerState("a", 0, 2), keep=1)
    except WorkError as error:
        return str(error)
    return None


def test_a_full_disk_is_one_message_and_leaves_no_half_folder(tmp_path: Path, build: Build) -> None:
    model = build()
    parent = tmp_path / "checkpoints"
    older = checkpoint.save(parent / "01-a-1", model, RUN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(WorkError, match=rf"could not be written.*last whole one is {older}"):
            checkpoint.save(parent / "01-a-2", model, RUN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in parent.iterdir()] == ["01-a-1"]


def test_a_kill_between_two_steps_is_cleaned_up_by_the_next_save(
    tmp_path: Path, build: Build
) -> None:
    model = build()
    parent = tmp_path / "checkpoints"
    checkpoint.save(parent / "01-a-1", model, RUN)
    (parent / ".01-a-2.tmp-0a1b2c3d" / "model").mkdir(parents=True)
    assert checkpoint.latest(parent).name == "01-a-1"
    checkpoint.save(parent / "01-a-3", model, RUN, keep=1)
    assert [path.name for path in parent.iterdir()] == ["01-a-3"]
