"""Proof that frozen weights did not change: their hashes, taken before and after a stage."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from isthmus.core.checkpoint import weights_hash
from isthmus.errors import FreezeError


class FrozenWeights:
    """What no step of a stage may touch, remembered by hash when the stage begins.

    Buffers (a batch norm's statistics) count in parts that are frozen as a whole.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        self._hashes = _hashes(parts)

    def check(self, parts: Mapping[str, nn.Module]) -> None:
        """Raise FreezeError when a bit of them is no longer the same."""
        now = _hashes(parts)
        changed = [name for name, digest in self._hashes.items() if now.get(name) != digest]
        if changed:
            raise FreezeError(
                f"{len(changed)} of {len(self._hashes)} frozen tensors changed during the "
                f"stage, the first is {changed[0]!r}. Something wrote to weights that the "
                "stage does not train: a hook, or a part that updates itself. The stage's "
                "last checkpoint was not written."
            )


def _hashes(parts: Mapping[str, nn.Module]) -> dict[str, str]:
    return {name: weights_hash({name: tensor}) for name, tensor in _frozen(parts).items()}


def _frozen(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for part, module in parts.items():
        parameters = dict(module.named_parameters())
        found |= {f"{part}.{n}": p for n, p in parameters.items() if not p.requires_grad}
        if not any(p.requires_grad for p in parameters.values()):
            found |= {f"{part}.{name}": buffer for name, buffer in module.named_buffers()}
    return found
