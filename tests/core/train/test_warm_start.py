"""A run that begins with the weights of another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus.core.checkpoint import Checkpoint, load
from isthmus.core.train import warm_start
from isthmus.core.train.run import run
from isthmus.errors import InputError
from tests.core.train.match_gradients import MIX, QFORMER
from tests.core.train.tiny import CLIP, LLAMA, stage, tiny_run, write_data

FROZEN = {"train": {"connector": "full"}, "steps": 1}


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The folder of a run that trained all of its parts."""
    write_data(tmp_path, 8)
    everything = {"encoder": "full", "connector": "full", "llm": "full"}
    run(tiny_run(tmp_path, stage(tmp_path, train=everything, steps=2)))
    return tmp_path / "run"


def again(folder: Path, start: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A second run, beside the first, whose encoder and LLM stay as they begin."""
    fields = {"out": str(folder / "again"), "seed": 5, "start": start} | fields
    return tiny_run(folder, stage(folder, **FROZEN), **fields)


def weights(place: Path, part: str) -> dict[str, torch.Tensor]:
    return load(place).model().parts()[part].state_dict()


def same(place: Path, other: Path, part: str) -> bool:
    ours, theirs = weights(place, part), weights(other, part)
    return all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)


def test_parts_begin_as_the_other_run_left_them(first: Path, tmp_path: Path):
    last = run(again(tmp_path, {"checkpoint": str(first)}))
    assert same(last, first, "encoder")
    assert same(last, first, "llm")
    assert not same(last, first, "connector")
    ours, theirs = load(last), load(first)
    assert ours.tokenizers()["llm"].get_vocab() == theirs.tokenizers()["llm"].get_vocab()


def test_only_the_parts_named_are_taken_and_the_connector_may_be_another(
    first: Path, tmp_path: Path
):
    model = {"encoder": CLIP, "connector": {"type": "mlp"}, "llm": LLAMA}
    last = run(again(tmp_path, {"checkpoint": str(first), "parts": ["llm"]}, model=model))
    assert same(last, first, "llm")
    assert not same(last, first, "encoder")


def test_an_earlier_stage_of_the_other_run_may_be_named(first: Path, tmp_path: Path):
    checkpoint = first / "checkpoints" / "01-align-000002"
    last = run(again(tmp_path, {"checkpoint": str(checkpoint)}))
    assert same(last, checkpoint, "llm")


def test_a_part_that_a_later_stage_needs_is_taken_then_from_what_was_opened_once(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    opened = []

    def counted(folder: Path) -> Checkpoint:
        opened.append(folder)
        return load(folder)

    monkeypatch.setattr(warm_start, "load", counted)
    represent = stage(tmp_path, name="represent", steps=1, objective={"type": "mix", "of": MIX})
    values = tiny_run(
        tmp_path,
        represent,
        stage(tmp_path, **FROZEN),
        model={"encoder": CLIP, "connector": QFORMER, "llm": LLAMA},
        start={"checkpoint": str(first), "parts": ["encoder", "llm"]},
        out=str(tmp_path / "again"),
    )
    last = run(values)
    assert opened == [first]
    assert same(last, first, "llm")
    assert same(last, first, "encoder")


def test_resuming_needs_the_other_run_no_more(first: Path, tmp_path: Path):
    values = again(tmp_path, {"checkpoint": str(first)})
    last = run(values)
    first.rename(tmp_path / "elsewhere")
    assert run(values, resume=True) == last


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"checkpoint": "nowhere"}, "start.checkpoint: .*no such folder"),
        ({"parts": ["lm"]}, r"start.parts: the model has no part 'lm'.*mean.*llm"),
        ({"parts": ["text_encoder"]}, "start.parts: the model has no part 'text_encoder'"),
        (
            {"parts": ["connector"]},
            "start: connector is another one than in .*checkpoints.*start.parts`. "
            "model.connector.type was 'linear' and is 'mlp'",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_before_anything_is_written(
    first: Path, tmp_path: Path, start: dict[str, Any], message: str
):
    model = {"encoder": CLIP, "connector": {"type": "mlp"}, "llm": LLAMA}
    values = again(tmp_path, {"checkpoint": str(first)} | start, model=model)
    with pytest.raises(InputError, match=message):
        run(values)
    assert not (tmp_path / "again").exists()


def test_lora_of_the_other_run_is_not_lost_in_silence(tmp_path: Path):
    write_data(tmp_path, 8)
    lora = {"type": "lora", "r": 2, "hand_over": "keep"}
    run(tiny_run(tmp_path, stage(tmp_path, train={"llm": lora}, steps=1)))
    with pytest.raises(InputError, match=r"llm in .* has weights added by 'lora'.*Merge"):
        run(again(tmp_path, {"checkpoint": str(tmp_path / "run")}))


def test_what_a_run_in_bf16_had_rounded_is_computed_with_in_fp32(tmp_path: Path):
    write_data(tmp_path, 8)
    train = {"connector": "full", "llm": "last_layers"}
    first = tiny_run(tmp_path, stage(tmp_path, train=train, steps=1), precision="bf16")
    assert weights(run(first), "llm")["model.lm_head.weight"].dtype == torch.bfloat16
    last = run(again(tmp_path, {"checkpoint": str(tmp_path / "run")}))
    for name, tensor in weights(last, "llm").items():
        assert tensor.dtype == torch.float32, name
    ours, theirs = weights(last, "llm"), weights(tmp_path / "run", "llm")
    assert all(torch.equal(ours[name], theirs[name].float()) for name in theirs)
