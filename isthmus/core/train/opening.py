"""Everything about a run's input that can be known before a weight is loaded: objectives,
templates and sources are built, and what is wrong with them is said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from isthmus.core.config import validate_part
from isthmus.core.contracts import Objective, PartConfig, Source, Template
from isthmus.core.data.mixture import Mixture
from isthmus.core.train.config import RunConfig, StageConfig
from isthmus.core.train.progress import check_trackers
from isthmus.core.train.seeds import derive, seed_draws
from isthmus.errors import ConfigError, DataError, Problem

DEFAULT_OBJECTIVE = "lm"


@dataclass(frozen=True)
class OpenStage:
    """A stage whose input is there. `held_out` are the sources of its validation."""

    index: int
    config: StageConfig
    objective: Objective
    template: Template | None
    mixture: Mixture
    held_out: tuple[Source, ...]


def open_stages(settings: RunConfig) -> list[OpenStage]:
    """Build what stages are made of. Raises InputError for what is missing or cannot be."""
    check_trackers(settings.trackers)
    check_stages(settings)
    return [_open(settings, index, stage) for index, stage in enumerate(settings.stages)]


def check_stages(settings: RunConfig, source: str = "") -> None:
    """Raise ConfigError, in the name of `source`, for stages that lack what they need."""
    problems = [
        problem
        for index, stage in enumerate(settings.stages)
        for problem in _problems(settings, index, stage)
    ]
    if problems:
        raise ConfigError(problems, source)


def texts(stages: Sequence[OpenStage]) -> Iterator[str]:
    """Every word of the training data, for a tokenizer of the run's own."""
    for stage in stages:
        for source in stage.mixture.sources:
            yield from source.texts()


def needed_parts(settings: RunConfig, stages: Sequence[OpenStage]) -> set[str]:
    """Parts that some stage runs or trains; the others are not loaded. Where there is an llm,
    pictures reach it through encoder and connector."""
    there = {name for name, _ in settings.model.parts()}
    needed: set[str] = set()
    for stage in stages:
        needed |= {*stage.objective.needs, *stage.config.train, *stage.config.reset}
    if "llm" in needed:
        needed |= {"encoder", "connector"}
    return needed & there


def _open(settings: RunConfig, index: int, stage: StageConfig) -> OpenStage:
    template = stage.template or settings.template
    seed_draws(derive(settings.seed, "objective", index))
    held_out = stage.validation.data if stage.validation else ()
    return OpenStage(
        index=index,
        config=stage,
        objective=_objective(stage).build(),
        template=template.build() if template else None,
        mixture=Mixture(_sources(stage.data, f"stages[{index}].data")),
        held_out=_sources(held_out, f"stages[{index}].validation.data"),
    )


def _sources(configs: Iterable[Source.Config], where: str) -> tuple[Source, ...]:
    sources = []
    for number, config in enumerate(configs):
        try:
            source: Source = config.build()
            if not len(source):
                raise DataError("there is no sample in it")
        except DataError as error:
            raise DataError(f"{where}[{number}]: {error}") from error
        sources.append(source)
    return tuple(sources)


def _objective(stage: StageConfig) -> PartConfig:
    return stage.objective or validate_part("objective", {"type": DEFAULT_OBJECTIVE})


def _problems(settings: RunConfig, index: int, stage: StageConfig) -> Iterator[Problem]:
    where = f"stages[{index}]"
    objective: type[Objective] = _objective(stage).owner  # type: ignore[assignment]
    there = {name for name, _ in settings.model.parts()}
    for name in sorted(objective.needs - there):
        yield Problem(
            f"{where}.objective",
            f"{objective.name!r} needs the part {name!r}, which the model does not have; "
            f"write `model.{name}`, or take another objective",
        )
    if "llm" in objective.needs and not (stage.template or settings.template):
        yield Problem(
            f"{where}.template",
            "conversations must be written out for the llm; write `template: vicuna_v1`, or "
            "another one that `isthmus plugins` lists",
        )
    batch = stage.batch
    if not objective.accumulates and (batch.micro_samples or batch.micro_tokens):
        yield Problem(
            f"{where}.batch",
            f"{objective.name!r} compares all samples of a step with each other and cannot "
            "accumulate; leave out `micro_samples` and `micro_tokens`",
        )
