"""A run, typed: what one YAML file says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from isthmus.core.config import validate_part
from isthmus.core.contracts import (
    Config,
    DataPath,
    Grid,
    Objective,
    PartConfig,
    Place,
    Source,
    Template,
    Tuner,
)
from isthmus.core.model.config import ModelConfig
from isthmus.core.train.evaluate_config import EvaluateConfig
from isthmus.core.train.start_config import StartConfig
from isthmus.errors import did_you_mean

PositiveInt = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Parallelism = Literal["ddp", "fsdp"]
Recomputing = Literal["auto", "none", "selective", "full"]
Decay = Annotated[float, Field(ge=0, lt=1)]

DEFAULT_OBJECTIVE = "lm"


class OptimizerConfig(Config):
    """AdamW."""

    lr: float = Field(default=1e-3, gt=0)
    """Learning rate of every part that does not say its own (`train: {llm: {lr: 2e-5}}`)."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of the two running averages."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the denominator."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay, on matrices alone (not on biases and norms)."""
    clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the whole gradient; null does not clip."""


class ScheduleConfig(Config):
    """How the learning rate moves over a stage."""

    type: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape after warm-up; cosine and linear fall to `end`."""
    warmup: float = Field(default=0.03, ge=0)
    """Steps of linear warm-up: a share of the stage below 1, a count of steps from 1 on."""
    end: Fraction = 0.0
    """Where the learning rate has fallen to as the stage ends, as a share of its height."""


class BatchConfig(Config):
    """What one optimizer step sees, over all processes and accumulation."""

    samples: PositiveInt | None = None
    """Samples in a step, whatever the number of processes."""
    tokens: PositiveInt | None = None
    """Tokens in a step at most, visual tokens included; instead of `samples`. With
    `micro_tokens`, a step is as many full packs of so many tokens as go into it."""
    micro_samples: PositiveInt | None = None
    """Samples in one forward pass at most; the rest of the step accumulates."""
    micro_tokens: PositiveInt | None = None
    """Tokens in one forward pass at most; a longer sample is alone."""

    @property
    def capacity(self) -> int | None:
        """Tokens that one forward pass has room for, where that is bounded."""
        return self.micro_tokens and min(self.micro_tokens, self.tokens or self.micro_tokens)

    def check(self) -> Iterator[tuple[Place, str]]:
        if (self.samples is None) == (self.tokens is None):
            yield (), "give either `samples` or `tokens`, the size of one step"


class ValidationConfig(Config):
    """Loss on data that no stage trains on."""

    data: tuple[Source.Config, ...] = Field(min_length=1)
    """Where the samples come from."""
    every: PositiveInt | None = None
    """Steps between two validations; the stage's end always has one."""
    grounding: bool = True
    """Also with photos shuffled among the samples: the loss that the right photo saves."""
    max_samples: PositiveInt | None = None
    """Use at most so many samples, the first ones."""


class FeaturesConfig(Config):
    """What a frozen encoder sees, kept on disk: read instead of computed by later epochs and
    runs, which do not even decode the picture."""

    cache: DataPath
    """Folder of the features, made where it is not there. Runs share it."""
    max_gib: float = Field(default=50.0, gt=0)
    """Size of the folder in GiB at most; then nothing is added, and all is still read."""


class StageConfig(Config):
    """Who learns, from what, and how long."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Name of the stage, for messages and folders."""
    train: dict[str, Tuner.Config] = Field(min_length=1)
    """Part -> tuner (`full`, `lora`, ...). Parts not named are frozen."""
    data: tuple[Source.Config, ...] = Field(min_length=1)
    """Sources, mixed by their weights."""
    objective: Objective.Config | None = None
    """What is learnt; absent, `lm`: the next token of the answers."""
    template: Template.Config | None = None
    """How conversations are written out; absent, the run's."""
    reset: tuple[str, ...] = ()
    """Parts drawn anew when the stage begins."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the data; give this or `steps`."""
    steps: PositiveInt | None = None
    """Optimizer steps; give this or `epochs`."""
    batch: BatchConfig
    """Size of one optimizer step."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """AdamW's settings."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Course of the learning rate."""
    validation: ValidationConfig | None = None
    """Loss on held-out data."""
    evaluate: EvaluateConfig | None = None
    """Benchmarks that the model is asked while it learns."""
    save_every: PositiveInt | None = None
    """Steps between two checkpoints; the stage's end always has one."""
    max_length: PositiveInt | None = None
    """Longest sample in tokens, visual ones included; text is cut behind it, images never. Of
    matches (`itc`, `clip`, ...) the longest text."""
    on_bad_image: Literal["fail", "skip"] = "fail"
    """A picture that cannot be read stops the run, or its sample is skipped and listed."""
    max_skipped: Fraction = 0.01
    """Share of the samples whose skipping ends the run all the same."""
    features: FeaturesConfig | None = None
    """Keep what the frozen encoder sees; absent, it looks anew every time."""
    parallel: Parallelism | None = None
    """How processes share the model in this stage; absent, as the run says."""
    recompute: Recomputing = "auto"
    """Layers that compute their activations a second time instead of keeping them: `none`, every
    second one (`selective`), all (`full`), or, by the memory that the first step takes on a GPU,
    as few as fit (`auto`; on a CPU, none)."""

    def check(self) -> Iterator[tuple[Place, str]]:
        if (self.epochs is None) == (self.steps is None):
            yield (), "give either `epochs` or `steps`"


class RunConfig(Config):
    """One run: a model and the stages that train it."""

    model: ModelConfig
    """The parts."""
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    """Stages in order; weights are handed over by themselves."""
    start: StartConfig | None = None
    """Weights of another run to begin with; absent, parts begin as they are published or drawn."""
    template: Template.Config | None = None
    """How conversations are written out, where a stage does not say."""
    out: Path = Path("runs/run")
    """Folder of the run: checkpoints, metrics, curves."""
    seed: int = Field(default=0, ge=0)
    """Every random draw follows from it."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass; bf16 keeps frozen weights in bf16 too."""
    blind: bool = False
    """Replace every picture by a grey one: the control that shows what words alone give."""
    parallel: Parallelism = "ddp"
    """How processes share the model: `ddp`, each holds all of it; `fsdp`, each holds a slice of
    its weights, gradients and optimizer state."""
    compile: bool = False
    """Let torch compile each layer, which takes a while when a stage begins."""
    workers: int = Field(default=0, ge=0)
    """Processes that load data beside each training process."""
    threads: PositiveInt | None = None
    """CPU threads of each training process; absent, torch's choice."""
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where metrics go besides `metrics.jsonl`."""
    keep: PositiveInt = 2
    """Checkpoints kept of a stage under way; the last of every stage stays."""
    ledger: bool = False
    """Write the ids of every step's samples to `samples.jsonl`."""
    save: Literal["async", "sync"] = "async"
    """`async` writes a checkpoint while training goes on, from a copy of what learns and its
    optimizer's state in the host's memory; `sync` lets training wait, and takes no copy."""

    def check(self) -> Iterator[tuple[Place, str]]:
        parts = [name for name, _ in self.model.parts()]
        before: set[str] = set()
        for index, stage in enumerate(self.stages):
            if stage.name in before:
                why = f"an earlier stage is called {stage.name!r}; names tell stages apart"
                yield ("stages", index, "name"), why
            before.add(stage.name)
            problems = (
                *_misnamed(stage, parts),
                *_lacking(stage, self.template, dict(self.model.parts())),
                *_not_to_keep(stage, self),
                *_too_short(stage, self.model),
                *_not_to_ask(stage, self.template, parts),
            )
            for place, why in problems:
                yield ("stages", index, *place), why


def objective_of(stage: StageConfig) -> Objective.Config:
    """What the stage learns, said or not."""
    usual: Any = stage.objective or validate_part("objective", {"type": DEFAULT_OBJECTIVE})
    objective: Objective.Config = usual
    return objective


def _misnamed(stage: StageConfig, parts: list[str]) -> Iterator[tuple[Place, str]]:
    places: dict[Place, str] = {("train", name): name for name in stage.train}
    places |= {("reset", place): name for place, name in enumerate(stage.reset)}
    for place, name in places.items():
        if name not in parts:
            near = did_you_mean(name, parts)
            yield place, f"no part has this name. Parts: {', '.join(parts)}.{near}"


def _lacking(
    stage: StageConfig, template: Template.Config | None, parts: Mapping[str, PartConfig]
) -> Iterator[tuple[Place, str]]:
    """What the stage's objective needs and does not get."""
    objective, name = objective_of(stage), objective_of(stage).owner.name
    lacking = sorted(objective.needs - parts.keys())
    for part in lacking:
        yield (
            ("objective",),
            f"{name!r} needs the part {part!r}, which the model does not have; "
            f"write `model.{part}`, or take another objective",
        )
    for why in () if lacking else objective.objections(parts):
        yield ("objective",), why
    if "llm" in objective.needs and not (stage.template or template):
        yield (
            ("template",),
            "conversations must be written out for the llm; write `template: vicuna_v1`, or "
            "another one that `isthmus plugins` lists",
        )
    if objective.weight != 1:
        yield (
            ("objective", "weight"),
            f"{name!r} is alone, and weights are for several (`type: mix`); leave it out, or "
            "change the learning rate",
        )
    for bound in ("micro_samples", "micro_tokens"):
        if not objective.accumulates and getattr(stage.batch, bound):
            yield (
                ("batch", bound),
                f"{name!r} compares all samples of a step with each other and cannot accumulate; "
                f"leave out `{bound}`. What does not fit into memory takes fewer `samples`, or "
                "more processes",
            )


def _too_short(stage: StageConfig, model: ModelConfig) -> Iterator[tuple[Place, str]]:
    tokens = model.connector.num_tokens((Grid(1, 1),)) if model.connector else 0
    if why := no_place_for_words(stage, tokens):
        yield ("max_length",), why


def no_place_for_words(stage: StageConfig, tokens: int) -> str:
    """Why no sample with an image of so many visual tokens, or more, would have anything left to
    learn; nothing where it has. Objectives on matches cut texts alone, and count no image."""
    longest = stage.max_length
    if longest is None or tokens < longest or "llm" not in objective_of(stage).needs:
        return ""
    return (
        f"an image becomes {tokens} visual tokens or more, which are never cut, and a sample of "
        f"{longest} has no place for words; allow more, or let model.connector give fewer"
    )


def _not_to_keep(stage: StageConfig, run: RunConfig) -> Iterator[tuple[Place, str]]:
    """Why the stage has no features to keep."""
    if stage.features is None:
        return
    tuner: type[Tuner] | None = None
    if "encoder" in stage.train:
        tuner = stage.train["encoder"].owner  # type: ignore[assignment]
    if run.model.encoder is None:
        yield ("features",), "the model has no encoder whose features could be kept; leave it out"
    if run.blind:
        yield ("features",), "a blind run looks at grey pictures alone; leave it out"
    if tuner is not None and tuner.learns:
        yield (
            ("features",),
            "the encoder learns in this stage, and sees otherwise after every step; leave it "
            "out, or take `encoder` out of `train`",
        )


def _not_to_ask(
    stage: StageConfig, template: Template.Config | None, parts: list[str]
) -> Iterator[tuple[Place, str]]:
    """Why the model cannot be asked anything in the stage."""
    if stage.evaluate and "llm" not in parts:
        yield ("evaluate",), "the model has no llm that could answer; leave it out"
    elif stage.evaluate and not (stage.template or template):
        yield ("evaluate",), "questions must be written out for the llm; write a `template`"
