"""`dpo`: raise the answer that was liked above the one that was not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from isthmus import hookimpl
from isthmus.core.contracts import Loss, Objective, Pack, Preparer, Sample, Tools, Turn
from isthmus.core.data.pack import Encoded, collate, count_tokens, encode_sample
from isthmus.errors import PartError, Unsupervised


class DirectPreference(Objective, name="dpo"):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290) by LoRA.

    The reference is the model without its adapters. The loss is -log sigmoid(beta (r - r')), summed
    over samples, where r is how many nats likelier the liked answer is than by the reference, and
    r' the same of the `rejected` one. Earlier turns are equally likely in both and cancel out.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"llm"})

    class Config(Objective.Config):
        """Settings of `dpo`."""

        beta: float = Field(default=0.1, gt=0)
        """How much a nat counts: the larger, the nearer the model stays to its reference."""
        rows: PositiveInt = 4096
        """Supervised tokens whose logits are in memory at once."""

    config: Config
    fresh: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("fresh", torch.ones(1))
        self.sure = False

    def admit(self, parts: Mapping[str, nn.Module]) -> None:
        model = nn.ModuleDict(parts)
        adapters = {id(p) for layer in _adapters(model) for p in layer.parameters()}
        learning = {n: id(p) for n, p in model.named_parameters() if p.requires_grad}
        other = [name for name, number in learning.items() if number not in adapters]
        if other or not adapters:
            found = f"{other[0]!r} learns by itself" if other else "nothing has adapters"
            raise PartError(
                "objective dpo: its reference is the model without adapters, so that all that "
                f"learns must be adapters, and {found}; write `train: {{llm: lora}}` alone"
            )

    def begin_as(self, learnt: Mapping[str, Tensor]) -> None:
        """Nothing: that a stage has begun is not true of the next one."""

    def preparer(self, tools: Tools) -> Preparer:
        return PreferencePreparer(tools)

    def forward(self, model: Any, batch: Preferences) -> Loss:
        self._check_start(model)
        with torch.no_grad(), _reference(model):
            before = self._log_likelihoods(model, batch.pack)
        gained = self._log_likelihoods(model, batch.pack) - before
        liked, rejected = (self.config.beta * gained).chunk(2)
        margins = liked - rejected
        lost = -functional.logsigmoid(margins).sum()
        metrics = {"accuracy": (margins > 0).float().sum(), "margin": margins.detach().sum()}
        return Loss(lost, batch.weight, metrics)

    def _log_likelihoods(self, model: Any, pack: Pack) -> Tensor:
        """(conversations) of their supervised tokens, in nats."""
        learnt = (pack.targets != Pack.IGNORE).nonzero()[:, 0]
        rows, targets = model.hidden(pack, learnt), pack.targets[learnt]
        size, head = self.config.rows, model.llm.head
        chunks = zip(torch.split(rows, size), torch.split(targets, size), strict=True)
        each = [
            checkpoint(_log_likelihood, head, *chunk, use_reentrant=False, preserve_rng_state=False)
            for chunk in chunks
        ]
        lengths = torch.tensor(pack.segments.lengths, device=rows.device)
        owners = torch.arange(len(lengths), device=rows.device).repeat_interleave(lengths)[learnt]
        nothing = torch.zeros(len(lengths), device=rows.device)
        return nothing.index_add(0, owners, torch.cat(each))

    def _check_start(self, model: Any) -> None:
        """A stage begins with adapters that do nothing; a resumed one need not."""
        if self.sure:
            return
        self.sure = True
        if float(self.fresh) and any(
            bool(p.any())
            for layer in _adapters(model)
            for name, p in layer.named_parameters()
            if ".lora_B." in f".{name}" or "lora_embedding_B" in name
        ):
            raise PartError(
                "objective dpo: the adapters have learnt in an earlier stage, so that without them "
                "the model is not the one that this stage begins with; write `hand_over: merge` in "
                "that stage"
            )
        self.fresh.zero_()


def _log_likelihood(head: Callable[[Tensor], Tensor], rows: Tensor, targets: Tensor) -> Tensor:
    """(rows dim), (rows) -> (rows), computed in fp32."""
    return -functional.cross_entropy(head(rows).float(), targets, reduction="none")


def _adapters(model: nn.Module) -> Iterator[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return (module for module in model.modules() if isinstance(module, BaseTunerLayer))


@contextmanager
def _reference(model: nn.Module) -> Iterator[None]:
    """The model without its adapters, and without dropout."""
    learning = [module for module in model.modules() if module.training]
    layers = list(_adapters(model))
    for module in learning:
        module.training = False
    for layer in layers:
        # peft's `enable_adapters` would also freeze them, in the middle of a step.
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False
        for module in learning:
            module.training = True


@dataclass(frozen=True)
class Preferences:
    """The liked conversations of all samples in one pack, and behind them the rejected ones."""

    pack: Pack
    samples: tuple[str, ...]

    @property
    def weight(self) -> float:
        return float(len(self.samples))

    @property
    def num_tokens(self) -> int:
        return self.pack.num_tokens

    @property
    def num_images(self) -> int:
        return self.pack.num_images // 2

    def to(self, device: torch.device) -> Preferences:
        return replace(self, pack=self.pack.to(device))


@dataclass(frozen=True)
class Preference:
    """A sample with either answer."""

    liked: Encoded
    rejected: Encoded

    @property
    def num_tokens(self) -> int:
        return self.liked.num_tokens + self.rejected.num_tokens


@dataclass(frozen=True)
class PreferencePreparer(Preparer):
    """Samples that have a `rejected` answer into packs of both."""

    tools: Tools

    def length(self, sample: Sample) -> int:
        return sum(count_tokens(each, self.tools) for each in _both(sample))

    def prepare(self, sample: Sample) -> Preference:
        return Preference(*(encode_sample(each, self.tools) for each in _both(sample)))

    def collate(self, examples: Sequence[Preference]) -> Preferences:
        liked, rejected = [e.liked for e in examples], [e.rejected for e in examples]
        return Preferences(collate([*liked, *rejected]), tuple(each.id for each in liked))


def _both(sample: Sample) -> tuple[Sample, Sample]:
    if sample.rejected is None:
        raise Unsupervised(
            f"{sample.origin}: sample {sample.id!r} has no `rejected` answer to compare with"
        )
    last = Turn("assistant", (sample.rejected,))
    return sample, replace(sample, turns=(*sample.turns[:-1], last))


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(DirectPreference)
