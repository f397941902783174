"""Everything about a run's input that can be known before a weight is loaded: objectives,
templates and sources are built, and what is wrong with them is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from isthmus.core.config import check
from isthmus.core.contracts import Benchmark, Objective, Source, Template
from isthmus.core.data.askable import askable
from isthmus.core.data.mixture import Mixture
from isthmus.core.train.config import RunConfig, StageConfig, objective_of
from isthmus.core.train.progress import check_trackers
from isthmus.core.train.seeds import derive, seed_draws
from isthmus.errors import DataError


@dataclass(frozen=True)
class OpenStage:
    """A stage whose input is there. `held_out` are the sources of its validation, `benchmarks`
    what it is evaluated by."""

    index: int
    config: StageConfig
    objective: Objective
    template: Template | None
    mixture: Mixture
    held_out: tuple[Source, ...]
    benchmarks: Mapping[str, Benchmark] = field(default_factory=dict)

    @property
    def fingerprints(self) -> dict[str, str]:
        """What names the stage's data, and that of its validation, on resume."""
        found = {self.config.name: self.mixture.fingerprint}
        if self.held_out:
            found[f"{self.config.name}/validation"] = Mixture(self.held_out).fingerprint
        return found


def open_stages(settings: RunConfig) -> list[OpenStage]:
    """Build what stages are made of. Raises InputError for what is missing or cannot be; the
    faults of all data at once."""
    check_trackers(settings.trackers)
    check(settings)
    wrong: list[str] = []
    stages = [_open(settings, index, stage, wrong) for index, stage in enumerate(settings.stages)]
    if len(wrong) > 1:
        raise DataError("\n  ".join([f"{len(wrong)} sources of data cannot be used", *wrong]))
    if wrong:
        raise DataError(wrong[0])
    return stages


def texts(stages: Sequence[OpenStage]) -> Iterator[str]:
    """Every word of the training data, for a tokenizer of the run's own."""
    for stage in stages:
        for source in stage.mixture.sources:
            yield from source.texts()


def needed_parts(settings: RunConfig, stages: Sequence[OpenStage]) -> set[str]:
    """Parts that some of these stages run or train; the others are not loaded. Where there is an
    llm, pictures reach it through encoder and connector."""
    there = dict(settings.model.parts())
    needed: set[str] = set()
    for stage in stages:
        needed |= {*stage.objective.config.runs(there), *stage.config.train, *stage.config.reset}
        if stage.config.evaluate:
            needed.add("llm")  # which answers, whatever it is that learns
    if "llm" in needed:
        needed |= {"encoder", "connector"}
    return needed & there.keys()


def _open(settings: RunConfig, index: int, stage: StageConfig, wrong: list[str]) -> OpenStage:
    """The stage; what keeps its sources from being opened is added to `wrong`."""
    template = stage.template or settings.template
    seed_draws(derive(settings.seed, "objective", index))
    held_out = stage.validation.data if stage.validation else ()
    return OpenStage(
        index=index,
        config=stage,
        objective=objective_of(stage).build(),
        template=template.build() if template else None,
        mixture=Mixture(_sources(stage.data, f"stages[{index}].data", wrong, stage)),
        held_out=_sources(held_out, f"stages[{index}].validation.data", wrong),
        benchmarks=_benchmarks(stage, f"stages[{index}].evaluate.benchmarks", wrong),
    )


def _benchmarks(stage: StageConfig, where: str, wrong: list[str]) -> dict[str, Benchmark]:
    """Those that the stage is evaluated by, whose questions and pictures are there."""
    found: dict[str, Benchmark] = {}
    for name, config in (stage.evaluate.benchmarks if stage.evaluate else {}).items():
        try:
            found[name] = config.build()
            askable(found[name])
        except DataError as error:
            wrong.append(f"{where}.{name}: {error}")
    return found


def _sources(
    configs: Sequence[Source.Config],
    where: str,
    wrong: list[str],
    stage: StageConfig | None = None,
) -> tuple[Source, ...]:
    """The sources; a stream among them is for training (in `stage`) alone."""
    sources = []
    for number, config in enumerate(configs):
        try:
            source: Source = config.build()
            if source.streams:
                _check_stream(source, len(configs), stage)
            elif not len(source):
                raise DataError("there is no sample in it")
        except DataError as error:
            wrong.append(f"{where}[{number}]: {error}")
        else:
            sources.append(source)
    return tuple(sources)


def _check_stream(source: Source, count: int, stage: StageConfig | None) -> None:
    """Raise DataError where a stream cannot be: nobody knows how many samples it has."""
    if stage is None:
        raise DataError("a stream cannot be validated on; leave out `stream`")
    if stage.steps is None:
        raise DataError("a stream has no known epochs; give the stage `steps` instead")
    if count > 1:
        raise DataError("a stream cannot be mixed; make it the only source of the stage")
    if source.weight != 1:
        raise DataError("a stream is read as it comes; leave out `weight`")
