"""Weights on disk: ties, precision, strictness, and a hash anyone can compute."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from isthmus.core.checkpoint.weights import (
    load_weights,
    read_weights,
    state_of,
    weights_hash,
    write_weights,
)
from isthmus.errors import CheckpointError, PartError


class Tied(nn.Module):
    """An embedding and a head that are one tensor, and a buffer."""

    def __init__(self, tie: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.register_buffer("count", torch.tensor(7))
        if tie:
            self.head.weight = self.embed.weight


def copy(module: nn.Module, path: Path) -> dict[str, torch.Tensor]:
    """Its tensors, written and read again."""
    return read_weights(path, write_weights(path, state_of(module)))


def test_tied_weights_are_written_once_and_come_back_under_both_names(tmp_path: Path) -> None:
    module = Tied()
    tensors = copy(module, tmp_path / "tied.safetensors")
    assert set(load_file(tmp_path / "tied.safetensors")) == {"count", "embed.weight"}
    other = Tied()
    load_weights(other, tensors, "here")
    assert torch.equal(other.embed.weight, module.embed.weight)
    assert other.head.weight is other.embed.weight


def test_untied_code_takes_weights_that_were_tied(tmp_path: Path) -> None:
    module = Tied()
    other = Tied(tie=False)
    load_weights(other, copy(module, tmp_path / "x.safetensors"), "here")
    assert torch.equal(other.head.weight, module.embed.weight)


def test_tied_code_refuses_two_different_tensors(tmp_path: Path) -> None:
    tensors = copy(Tied(tie=False), tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"head\.weight and embed\.weight are one tensor"):
        load_weights(Tied(), tensors, "here")


def test_views_of_one_storage_are_written_as_tensors_of_their_own(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    parts = {"top": whole[:2], "turned": whole.t(), "low": whole[2:], "all": whole}
    write_weights(tmp_path / "x.safetensors", parts)
    read = read_weights(tmp_path / "x.safetensors", {})
    assert all(torch.equal(read[name], tensor) for name, tensor in parts.items())


def test_precision_of_the_file_wins_over_that_of_the_model(tmp_path: Path) -> None:
    module = Tied().bfloat16()
    other = Tied()
    load_weights(other, copy(module, tmp_path / "x.safetensors"), "here")
    assert other.embed.weight.dtype is torch.bfloat16
    assert other.head.weight is other.embed.weight
    assert weights_hash(other) == weights_hash(module)


def test_loaded_weights_do_not_hang_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    other = Tied()
    load_weights(other, copy(Tied(), path), "here")
    before = weights_hash(other)
    path.write_bytes(bytes(path.stat().st_size))
    assert weights_hash(other) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("embed.weight"), "missing: embed.weight"),
        (lambda t: t.update(more=torch.zeros(1)), "unexpected: more"),
        (lambda t: t.update(count=torch.zeros(2)), r"count: the model has \(\), the checkpoint"),
    ],
)
def test_every_name_and_shape_must_meet_its_fellow(change, words: str) -> None:
    tensors = state_of(Tied())
    change(tensors)
    with pytest.raises(CheckpointError, match=words):
        load_weights(Tied(), tensors, "here")


def test_equal_weights_are_files_of_equal_bytes(tmp_path: Path) -> None:
    one = torch.ones(3)
    names = "abcdefgh"
    for turn in range(len(names)):
        tensors = {name: torch.ones(3) for name in names[turn:] + names[:turn]}
        write_weights(tmp_path / f"{turn}.safetensors", {**tensors, "x": one, "y": one})
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1


def test_hash_is_sha256_over_name_dtype_shape_and_bytes() -> None:
    tensors = {"b": torch.tensor([1.0, -2.0]), "a": torch.tensor(3, dtype=torch.int16)}
    expected = hashlib.sha256(
        b"a\ntorch.int16\n()\n"
        + (3).to_bytes(2, "little")
        + b"b\ntorch.float32\n(2,)\n"
        + bytes.fromhex("0000803f000000c0")
    ).hexdigest()
    assert weights_hash(tensors) == expected


def test_hash_takes_every_dtype() -> None:
    kinds = [torch.bool, torch.bfloat16, torch.float16, torch.float64, torch.uint8, torch.int64]
    hashes = {weights_hash({"x": torch.zeros(2, 2, dtype=kind)}) for kind in kinds}
    assert len(hashes) == len(kinds)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"PK\x03\x04 a pickle in a zip")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        read_weights(tmp_path / "x.safetensors", {})


def test_state_that_is_no_tensor_is_refused() -> None:
    class Odd(nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"calls": 3}

        def set_extra_state(self, state: object) -> None: ...

    with pytest.raises(PartError, match="_extra_state"):
        state_of(Odd(2, 2))
