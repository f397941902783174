"""Who learns: the table, and tuners that lie."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from isthmus.core.contracts import ParameterGroup, PartConfig, Tuner
from isthmus.core.train.config import OptimizerConfig
from isthmus.core.train.tuning import apply_tuners, refuse_batch_norms, set_precision, table
from isthmus.errors import PartError


class Last(Tuner, name="last"):
    """Trains the last layer; `lies` names another one to the optimizer."""

    class Config(Tuner.Config):
        lies: bool = False

    def __init__(self, config: Config) -> None:
        self.config = config

    def apply(self, part: nn.Module) -> None:
        part[-1].requires_grad_(True)

    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        named = part[0 if self.config.lies else -1].named_parameters()
        return [ParameterGroup("last", dict(named), lr=self.config.lr)]


class Plain(PartConfig):
    """Stands for a part's own configuration."""


class Owner:
    name = "plain"


Plain.owner = Owner  # type: ignore[assignment]


def parts() -> dict[str, nn.Module]:
    return {
        "encoder": nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)),
        "connector": nn.Sequential(nn.Linear(2, 2)),
    }


def test_only_what_a_tuner_takes_learns():
    model = parts()
    (tuned,) = apply_tuners(model, {"encoder": Last.Config(lr=2e-5)})
    learning = [n for n, p in model["encoder"].named_parameters() if p.requires_grad]
    assert learning == ["1.weight", "1.bias"]
    assert not any(p.requires_grad for p in model["connector"].parameters())
    assert tuned.groups[0].lr == 2e-5


def test_tuner_whose_groups_are_not_what_learns_is_refused():
    with pytest.raises(PartError, match=r"tuner 'last' of 'encoder'.*must agree"):
        apply_tuners(parts(), {"encoder": Last.Config(lies=True)})


def test_table_counts_by_hand():
    model = parts()
    tuned = apply_tuners(model, {"encoder": Last.Config(lr=2e-5)})
    objective = nn.Linear(1, 1, bias=False)
    configs = {"encoder": Plain(), "connector": Plain()}
    rows = table(model, configs, tuned, objective, OptimizerConfig(lr=1e-3))
    found = [(r.part, r.what, r.tuner, r.parameters, r.trainable, r.lr) for r in rows]
    assert found == [
        ("encoder", "plain", "last", 17, 8, 2e-5),  # 2*3+3 and 3*2+2
        ("connector", "plain", "frozen", 6, 0, None),
        ("objective", "", "full", 1, 1, 1e-3),
    ]


def test_precision_follows_what_learns_and_spares_what_was_learnt():
    model = parts()
    model["encoder"][0].register_buffer("angles", torch.ones(1))
    apply_tuners(model, {"encoder": Last.Config()})
    nothing = {"encoder": frozenset[str](), "connector": frozenset[str]()}
    set_precision(model, bf16=True, learnt=nothing | {"connector": frozenset({"0.weight"})})
    dtypes = {n: p.dtype for part in model.values() for n, p in part.named_parameters()}
    assert model["encoder"][0].weight.dtype == torch.bfloat16
    assert model["encoder"][0].angles.dtype == torch.float32
    assert model["encoder"][1].weight.dtype == torch.float32
    assert model["connector"][0].weight.dtype == torch.float32
    assert model["connector"][0].bias.dtype == torch.bfloat16
    assert len(dtypes) == 4
    apply_tuners(model, {"encoder": Last.Config()})
    model["encoder"].requires_grad_(True)
    set_precision(model, bf16=True, learnt=nothing)
    assert model["encoder"][0].weight.dtype == torch.float32


def test_batch_norms_that_learn_are_refused_for_several_processes():
    part = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 4))
    with pytest.raises(PartError, match=r"'encoder' learns, and has batch norms \(1\)"):
        refuse_batch_norms(apply_tuners({"encoder": part}, {"encoder": Last.Config()}))
    refuse_batch_norms(apply_tuners({"encoder": part}, {}))
