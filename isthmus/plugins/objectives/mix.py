"""`mix`: several objectives on the same samples, by weight. BLIP-2's first stage is three."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus import hookimpl
from isthmus.core.contracts import (
    Loss,
    Mixed,
    Objective,
    PartConfig,
    Place,
    Preparer,
    Sample,
    Tools,
)
from isthmus.core.data.matches import Matches, shared
from isthmus.core.model.match_reader import reader_among
from isthmus.core.model.momentum import COPIES, AsksCopies, Momentum, MomentumConfig
from isthmus.core.model.vlm import learns


class Mix(Objective, name="mix"):
    """The sum of several objectives' losses, each divided by its own weight over the whole step and
    multiplied by its `weight` here."""

    class Config(Objective.Config):
        """Settings of `mix`."""

        of: tuple[Objective.Config, ...] = Field(min_length=2)
        """The objectives, each with its `weight`; what one takes up of another stands behind it."""
        momentum: MomentumConfig | None = None
        """Copies of what learns, whose answers `itc` and `mlm` learn, too (ALBEF); absent, the
        right answers are all there is."""

        @property
        def needs(self) -> frozenset[str]:
            return frozenset[str]().union(*(each.needs for each in self.of))

        def runs(self, parts: Mapping[str, PartConfig]) -> frozenset[str]:
            return frozenset[str]().union(*(each.runs(parts) for each in self.of))

        @property
        def accumulates(self) -> bool:
            return all(each.accumulates for each in self.of)

        def check(self) -> Iterator[tuple[Place, str]]:
            names = [each.owner.name for each in self.of]
            for number, each in enumerate(self.of):
                name, before = names[number], names[:number]
                if name in before:
                    yield ("of", number), f"{name!r} is there already; one has one weight"
                if name == Mix.name:
                    yield ("of", number), "a mix in a mix; write its objectives here"
                for late in sorted(each._owner.follows & set(names) - set(before)):
                    yield ("of", number), f"{name!r} takes up what {late!r} finds; write it behind"

        def objections(self, parts: Mapping[str, PartConfig]) -> Iterator[str]:
            for each in self.of:
                yield from each.objections(parts)
            if self.momentum and self.momentum.queue and reader_among(parts) == "connector":
                yield (
                    "'momentum.queue' keeps one vector of a picture, and a Q-Former gives one for "
                    "each query; leave `queue` out"
                )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.momentum: Momentum | None = None
        self.of = nn.ModuleDict({each.owner.name: each.build() for each in config.of})

    @property
    def each(self) -> list[Objective]:
        return list(self.of.values())  # type: ignore[arg-type]

    def join(self, model: Any) -> None:
        for objective in self.each:
            objective.join(model)
        config, self.momentum = self.config.momentum, None
        # A model in which nothing learns is one that only answers, and asks no copies.
        if config is not None and any(learns(part) for part in model.parts().values()):
            self.momentum = Momentum(config, model, self._asking)
        if self.momentum is None:
            self.register_load_state_dict_pre_hook(_drop_momentum)  # type: ignore[no-untyped-call]

    @property
    def _asking(self) -> dict[str, AsksCopies]:
        return {each.name: each for each in self.each if isinstance(each, AsksCopies)}

    def begin_as(self, learnt: Mapping[str, Tensor]) -> None:
        for objective in self.each:
            place = f"of.{objective.name}."
            own = {key.removeprefix(place): t for key, t in learnt.items() if key.startswith(place)}
            objective.begin_as(own)
        if self.momentum is not None:
            self.momentum.copy_heads(self._asking)

    def after_step(self, model: Any) -> None:
        for objective in self.each:
            objective.after_step(model)
        if self.momentum is not None:
            self.momentum.follow(model, self._asking)

    @property
    def terms(self) -> int:
        return sum(objective.terms for objective in self.each)

    def weights(self, batch: Mixed) -> tuple[float, ...]:
        each = zip(self.each, batch.batches, strict=True)
        return tuple(weight for objective, own in each for weight in objective.weights(own))

    def preparer(self, tools: Tools) -> Preparer:
        made: list[Preparer] = []
        which = []
        for objective in self.each:
            own = objective.preparer(tools)
            if own not in made:
                made.append(own)
            which.append(made.index(own))
        return MixedPreparer(tuple(made), tuple(which))

    def forward(self, model: Any, batch: Mixed) -> Loss:
        # What two objectives would compute of the same matches is computed once, for this pass.
        batch = shared(batch)
        if self.momentum is not None and self.training:
            matches = {id(own): own for own in batch.batches if isinstance(own, Matches)}
            for each in matches.values():
                each.leave(COPIES, self.momentum.about(each))
        sums: list[Tensor] = []
        metrics: dict[str, tuple[int, Tensor]] = {}
        for objective, own in zip(self.each, batch.batches, strict=True):
            loss: Loss = objective(model, own)
            term = len(sums)
            sums += [value * objective.config.weight for value in loss.sum.float().reshape(-1)]
            metrics[f"{objective.name}_loss"] = term, loss.sum.detach()
            for name, value in loss.metrics.items():
                metrics[f"{objective.name}_{name}"] = term, value
        found = {name: _at(term, value, self.terms) for name, (term, value) in metrics.items()}
        return Loss(torch.stack(sums), self.weights(batch), found)


@dataclass(frozen=True)
class MixedPreparer(Preparer):
    """Preparers side by side; `which` of them each objective's is."""

    made: tuple[Preparer, ...]
    which: tuple[int, ...]

    def length(self, sample: Sample) -> int:
        return self.made[self.which[0]].length(sample)

    def prepare(self, sample: Sample) -> MixedExample:
        return MixedExample(tuple(preparer.prepare(sample) for preparer in self.made))

    def collate(self, examples: Sequence[MixedExample]) -> Mixed:
        batches = [
            preparer.collate([example.each[number] for example in examples])
            for number, preparer in enumerate(self.made)
        ]
        return Mixed(tuple(batches[number] for number in self.which))


@dataclass(frozen=True)
class MixedExample:
    """One sample, as each preparer made it."""

    each: tuple[Any, ...]

    @property
    def num_tokens(self) -> int:
        tokens: int = self.each[0].num_tokens
        return tokens


def _drop_momentum(_: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Copies that a stage kept for itself are left where they are."""
    for key in [key for key in state if key.startswith(f"{prefix}momentum.")]:
        del state[key]


def _at(term: int, value: Tensor, terms: int) -> Tensor:
    """(terms) the value in its place, to be divided by its own term's weight."""
    row = torch.zeros(terms, dtype=value.dtype, device=value.device)
    row[term : term + value.numel()] = value
    return row


@hookimpl
def register_objectives(register: Callable[[type], None]) -> None:
    register(Mix)
