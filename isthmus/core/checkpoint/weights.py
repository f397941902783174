"""The weights of one part, on disk and as a hash.

safetensors refuses tensors that share storage, so of names that mean one tensor (tied
embeddings) the first is written, and the manifest lists the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from isthmus.errors import CheckpointError, PartError

Tensors = Mapping[str, Tensor]


def state_of(part: nn.Module) -> dict[str, Tensor]:
    """Name -> tensor, as `state_dict` has it, without copies and without gradients."""
    state: dict[str, Any] = part.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        raise PartError(
            f"{type(part).__name__}: its state holds {odd[0]!r}, which is no tensor; "
            "a checkpoint keeps tensors alone. Make it a buffer, or a field of Config."
        )
    return state


def weights_hash(part: nn.Module | Tensors) -> str:
    """sha256 over names in order, each with dtype, shape and bytes.

    Take it of a part as `build_model` returned it, before it is cast or moved to training
    precision: that is what `load` compares with.
    """
    tensors = state_of(part) if isinstance(part, nn.Module) else part
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(f"{name}\n{tensor.dtype}\n{tuple(tensor.shape)}\n".encode())
        flat = tensor.to("cpu").contiguous().reshape(-1).view(torch.uint8)
        digest.update(flat.numpy().data)
    return digest.hexdigest()


def write_weights(path: Path, tensors: Tensors) -> dict[str, str]:
    """Write one safetensors file; returns alias -> name of the tied, which the manifest keeps.

    The file's own metadata has one entry alone: the library writes several in random order,
    and equal weights would be files of unequal bytes. Raises OSError when the disk is full.
    """
    tied = _tied(tensors)
    own = {
        name: tensor.detach().contiguous() for name, tensor in tensors.items() if name not in tied
    }
    if _share_storage(own):
        own = {name: tensor.clone() for name, tensor in own.items()}
    try:
        save_file(own, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{path.name}: {error}") from error
    return tied


def read_weights(path: Path, tied: Mapping[str, str]) -> dict[str, Tensor]:
    """Name -> tensor, tied names included."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors | {alias: tensors[name] for alias, name in tied.items()}
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(f"{path}: not a safetensors file of isthmus ({error})") from error


def load_weights(
    part: nn.Module, tensors: Tensors, where: str, only: Collection[str] | None = None
) -> None:
    """Put `tensors` into `part`, in their own precision; every name must meet its fellow.

    `only` names those that are meant, where not all are; `where` the file, in messages.
    """
    own = state_of(part)
    if only is not None:
        own = {name: tensor for name, tensor in own.items() if name in only}
    _match(own, tensors, where)
    for name, target in own.items():
        source = tensors[name]
        if target.dtype == source.dtype:
            target.copy_(source)
        else:
            _swap(part, name, source.to(target.device, copy=True))
    twins = {n: first for n, first in _tied(state_of(part)).items() if {n, first} <= own.keys()}
    apart = [n for n, first in twins.items() if not torch.equal(tensors[n], tensors[first])]
    if apart:
        raise CheckpointError(
            f"{where}: {apart[0]} and {twins[apart[0]]} are one tensor in the model that was "
            "built, but two different ones in the checkpoint; the part's code has changed"
        )


def _match(own: Tensors, tensors: Tensors, where: str) -> None:
    problems = []
    if missing := sorted(own.keys() - tensors.keys()):
        problems.append(f"missing: {_some(missing)}")
    if unexpected := sorted(tensors.keys() - own.keys()):
        problems.append(f"unexpected: {_some(unexpected)}")
    for name in sorted(own.keys() & tensors.keys()):
        here, there = tuple(own[name].shape), tuple(tensors[name].shape)
        if here != there:
            problems.append(f"{name}: the model has {here}, the checkpoint {there}")
    if problems:
        raise CheckpointError(
            f"{where}: these weights are not this model's. {'; '.join(problems[:5])}. "
            "The part's code or a library has changed since the checkpoint was written; "
            "trainer.json names the versions."
        )


def _swap(part: nn.Module, name: str, value: Tensor) -> None:
    """Give a parameter or buffer a value of another dtype; the object stays, and its ties."""
    owner, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(part.get_submodule(owner), leaf)
    tensor.data = value


def _tied(tensors: Tensors) -> dict[str, str]:
    """alias -> the first name of the same tensor."""
    first: dict[tuple[Any, ...], str] = {}
    tied = {}
    for name in sorted(tensors):
        tensor = tensors[name]
        if not tensor.numel():
            continue
        key = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if key in first:
            tied[name] = first[key]
        else:
            first[key] = name
    return tied


def _share_storage(tensors: Tensors) -> bool:
    storages = [
        (tensor.device, tensor.untyped_storage().data_ptr())
        for tensor in tensors.values()
        if tensor.numel()
    ]
    return len(set(storages)) < len(storages)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
