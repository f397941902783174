"""The optimizer's state as named tensors: no pickle, and no order to rely on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from isthmus.errors import CheckpointError


def flatten_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """`{name}/{entry}` -> tensor, for `save`; `parameters` names those that learn.

    Learning rates and the like are not among them: they follow from the run's config.
    """
    return {
        f"{name}/{entry}": torch.as_tensor(value).detach()
        for name, parameter in parameters.items()
        for entry, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    """Give the optimizer back what `flatten_optimizer` took from it."""
    entries: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition("/")
        entries.setdefault(name, {})[entry] = tensor.clone()
    if strangers := sorted(entries.keys() - parameters.keys()):
        raise CheckpointError(
            f"optimizer.safetensors: holds state of {strangers[0]}, which does not learn in "
            "this stage; resume with the run's own config"
        )
    names = {id(parameter): name for name, parameter in parameters.items()}
    listed = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        index: entries[names[id(p)]]
        for index, p in enumerate(listed)
        if names.get(id(p)) in entries
    }
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
