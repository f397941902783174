"""The kit catches objectives and tuners that break their promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus.core.contracts import Loss, Matcher, ParameterGroup, Preparer, Sample, Tools, Tuner
from isthmus.core.data.preparers import PackPreparer
from isthmus.plugins.objectives.lm import LanguageModelling
from isthmus.plugins.tuners.full import Full
from isthmus.plugins.tuners.lora import Lora
from isthmus.testing import ContractBroken, check_objective, check_tuner


class Scaled(LanguageModelling, name="scaled"):
    """An honest objective with a weight of its own."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, model: Any, batch: Any) -> Loss:
        loss = super().forward(model, batch)
        return Loss((self.scale * loss.sum).squeeze(), loss.weight, {"half": loss.sum / 2})


class NeedsEars(Scaled, name="needs_ears"):
    needs = frozenset({"ear"})


class Mean(Scaled, name="mean"):
    """Divides by its own batch, so that accumulation would weigh samples wrong."""

    def forward(self, model: Any, batch: Any) -> Loss:
        loss = super().forward(model, batch)
        return replace(loss, sum=loss.sum / loss.weight)


class OtherWeight(Scaled, name="other_weight"):
    def forward(self, model: Any, batch: Any) -> Loss:
        return replace(super().forward(model, batch), weight=1.0)


class Unused(Scaled, name="unused"):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.spare = nn.Parameter(torch.zeros(2))


class Detached(LanguageModelling, name="detached"):
    def forward(self, model: Any, batch: Any) -> Loss:
        loss = super().forward(model, batch)
        return replace(loss, sum=loss.sum.detach())


class LostGradient(LanguageModelling, name="lost_gradient"):
    """The value of one sample more than its gradient."""

    def forward(self, model: Any, batch: Any) -> Loss:
        loss = super().forward(model, batch)
        if len(batch.samples) > 1:
            loss = replace(loss, sum=loss.sum.detach() + 0.5 * (loss.sum - loss.sum.detach()))
        return loss


class ShyMetric(Scaled, name="shy_metric"):
    def forward(self, model: Any, batch: Any) -> Loss:
        loss = super().forward(model, batch)
        return loss if batch.num_images else replace(loss, metrics={})


class MeanMetric(Scaled, name="mean_metric"):
    def forward(self, model: Any, batch: Any) -> Loss:
        loss = super().forward(model, batch)
        return replace(loss, metrics={"half": loss.sum / loss.weight})


class Dozing(Scaled, name="dozing"):
    def forward(self, model: Any, batch: Any) -> Loss:
        loss = super().forward(model, batch)
        return replace(loss, sum=loss.sum * (1 + torch.rand(())))


class TooShort(PackPreparer):
    def length(self, sample: Sample) -> int:
        return super().length(sample) - 1


class Decodes(PackPreparer):
    def length(self, sample: Sample) -> int:
        return self.prepare(sample).num_tokens


class Drops(PackPreparer):
    def collate(self, examples: Sequence[Any]) -> Any:
        return super().collate(examples[:2])


class PromisesLess(Scaled, name="promises_less"):
    maker: type[PackPreparer] = TooShort

    def preparer(self, tools: Tools) -> Preparer:
        return self.maker(tools)


class Hasty(PromisesLess, name="hasty"):
    maker = Decodes


class Wasteful(PromisesLess, name="wasteful"):
    maker = Drops


class Comparing(Scaled, Matcher, name="comparing"):
    """Says how probable a match is among those of its batch."""

    def belonging(self, model: Any, batch: Any) -> Tensor:
        return torch.zeros(len(batch.samples)).softmax(dim=0)


class Scoring(Comparing, name="scoring"):
    def belonging(self, model: Any, batch: Any) -> Tensor:
        return torch.full((len(batch.samples),), 2.0)


def test_honest_objective_passes() -> None:
    check_objective(Scaled.Config())


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (NeedsEars, "the model has no part ear"),
        (Mean, "the samples' losses added up, and the batch's"),
        (OtherWeight, r"the batch said its weight is \d+.0, the loss says 1.0"),
        (Unused, "no gradient reaches its own spare"),
        (Detached, "a finite scalar with a gradient"),
        (LostGradient, "the samples' gradients added up, and the batch's"),
        (ShyMetric, "every batch has metrics of the same names"),
        (MeanMetric, "its metric 'half'"),
        (Dozing, "run twice in eval mode"),
        (PromisesLess, r"promises \d+ tokens of sample 'one'"),
        (Hasty, "decodes pixels; the header will do"),
        (Wasteful, "samples, num_tokens and num_images are"),
        (Comparing, "`belonging` of matches alone, and of their batch"),
        (Scoring, "probabilities, from 0 to 1"),
    ],
)
def test_an_objective_that_breaks_a_promise_is_caught(part: Any, message: str) -> None:
    with pytest.raises(ContractBroken, match=message):
        check_objective(part.Config())


class FirstBias(Tuner, name="first_bias"):
    """An honest tuner: the first bias learns."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def apply(self, part: nn.Module) -> None:
        self.bias(part).requires_grad_()

    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        return [ParameterGroup("bias", {"bias": self.bias(part)})]

    def bias(self, part: nn.Module) -> nn.Parameter:
        found = [p for name, p in part.named_parameters() if name.endswith("bias")]
        return found[0] if found else Full.Config().build().apply(part)


class ForgetsGroups(FirstBias, name="forgets_groups"):
    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        return []


class GroupsTwice(FirstBias, name="groups_twice"):
    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        return super().groups(part) * 2


class SilentlyNothing(FirstBias, name="silently_nothing"):
    def apply(self, part: nn.Module) -> None:
        for parameter in part.parameters():
            parameter.requires_grad_()

    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        return [ParameterGroup("all", dict(part.named_parameters()))]


class ChangesClass(FirstBias, name="changes_class"):
    def apply(self, part: nn.Module) -> None:
        super().apply(part)
        part.__class__ = nn.Sequential


class ForgetsAdditions(Lora, name="forgets_additions"):
    """Adapters that `added` forgets."""

    def added(self, part: nn.Module) -> frozenset[str]:
        return frozenset()


class LosesWhatWasLearnt(Lora, name="loses_what_was_learnt"):
    def finish(self, part: nn.Module) -> None:
        for group in self.groups(part):
            for parameter in group.parameters.values():
                parameter.data.zero_()
        super().finish(part)


class AddsAgain(Lora, name="adds_again"):
    """Starts afresh on a part that was tuned before."""

    def apply(self, part: nn.Module) -> None:
        super().apply(part)
        for name, parameter in part.named_parameters():
            if "lora_B" in name:
                parameter.data.zero_()


class NamesMore(Lora, name="names_more"):
    def added(self, part: nn.Module) -> frozenset[str]:
        return super().added(part) and super().added(part) | {"ear"}


class UnusedAddition(FirstBias, name="unused_addition"):
    def apply(self, part: nn.Module) -> None:
        super().apply(part)
        part.register_parameter("spare", nn.Parameter(torch.zeros(2)))

    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        spare = {"spare": part.get_parameter("spare")}
        return [*super().groups(part), ParameterGroup("spare", spare)]

    def added(self, part: nn.Module) -> frozenset[str]:
        return frozenset({"spare"}) if hasattr(part, "spare") else frozenset()


def test_honest_tuner_passes() -> None:
    check_tuner(FirstBias.Config())


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (ForgetsGroups, "the optimizer gets 0 parameters, but 1 require a gradient"),
        (GroupsTwice, "a parameter is in two of them"),
        (SilentlyNothing, "a part without anything to train must raise PartError"),
        (ChangesClass, "the part must keep its class"),
        (ForgetsAdditions, r"it names 0 of the \d+ numbers that `apply` added"),
        (NamesMore, "the part's state has no ear"),
        (LosesWhatWasLearnt, "what was learnt is handed over"),
        (AddsAgain, "a part that is tuned already"),
        (UnusedAddition, "no gradient reaches spare"),
    ],
)
def test_a_tuner_that_breaks_a_promise_is_caught(part: Any, message: str) -> None:
    with pytest.raises(ContractBroken, match=message):
        check_tuner(part.Config())


def test_a_part_of_ones_own_is_tuned_as_well() -> None:
    part = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

    def run(tuned: Any) -> Tensor:
        return tuned(torch.linspace(-1, 1, 6).reshape(2, 3))

    before = {name: value.clone() for name, value in part.state_dict().items()}
    check_tuner(Lora.Config(r=2), part, run)
    assert all(torch.equal(value, before[name]) for name, value in part.state_dict().items())
