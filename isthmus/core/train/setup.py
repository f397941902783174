"""What a stage works with: who learns, where its steps come from, what takes them."""

from __future__ import annotations

from isthmus.core.checkpoint import Checkpoint, restore_optimizer
from isthmus.core.contracts import Batch, ParameterGroup, Preparer
from isthmus.core.data.loader import StepLoader
from isthmus.core.data.mixture import Mixture
from isthmus.core.train.engine import Engine, Root
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.optimizer import build_optimizer
from isthmus.core.train.plans import make_plan
from isthmus.core.train.seeds import derive, seed_draws
from isthmus.core.train.session import Session
from isthmus.core.train.tuning import Tuned, apply_tuners, set_precision
from isthmus.errors import DataError, ImageError, PartError, Unsupervised


def tune(session: Session, stage: OpenStage, fresh: bool) -> list[Tuned]:
    """Decide who learns; in a stage that begins (`fresh`), draw anew what it resets."""
    seed = derive(session.settings.seed, "tune", stage.index)
    if fresh:
        for name in stage.config.reset:
            session.model.reset(name, seed)
            session.history.reset(name)
    # LoRA draws its matrices when it is applied.
    seed_draws(seed)
    parts = session.model.parts()
    learnt = session.history.learnt(parts)
    tuned = apply_tuners(parts, stage.config.train)
    set_precision(parts, session.settings.precision == "bf16", learnt)
    for item in tuned:
        session.history.tuned(item)
    return tuned


def make_preparer(session: Session, stage: OpenStage) -> Preparer:
    """The maker of the stage's examples and batches."""
    tools = session.model.tools(stage.template, stage.config.max_length, session.settings.blind)
    return stage.objective.preparer(tools)


def make_loader(
    session: Session, stage: OpenStage, preparer: Preparer, first_step: int, skipped: int
) -> StepLoader:
    """This process's part of every step from `first_step` on; `skipped` samples were left out
    of those before it."""
    config, batch, parallel = stage.config, stage.config.batch, session.parallel
    return StepLoader(
        make_plan(session, stage, preparer),
        stage.mixture,
        preparer,
        rank=parallel.rank,
        world=parallel.world,
        workers=session.settings.workers,
        first_step=first_step,
        micro_samples=batch.micro_samples,
        micro_tokens=batch.micro_tokens,
        on_bad_image=config.on_bad_image,
        max_skipped=config.max_skipped,
        skipped=skipped // parallel.world,
    )


def make_engine(
    session: Session,
    stage: OpenStage,
    tuned: list[Tuned],
    preparer: Preparer,
    checkpoint: Checkpoint | None,
) -> Engine:
    """What takes the stage's steps, going on from the checkpoint where there is one."""
    config, objective = stage.config, stage.objective
    groups = [group for item in tuned for group in item.groups]
    if own := dict(objective.named_parameters()):
        groups.append(ParameterGroup("objective", own))
    if not groups:
        raise PartError(
            f"stages[{stage.index}].train: nothing learns; write `full` or another tuner for at "
            "least one part"
        )
    engine = Engine(
        Root(session.model, objective, session.settings.precision == "bf16"),
        build_optimizer(groups, config.optimizer),
        session.parallel,
        name=config.name,
        clip=config.optimizer.clip,
        seed=derive(session.settings.seed, "draws", stage.index),
        spare=lambda: spare_batch(stage.mixture, preparer),
    )
    if checkpoint:
        objective.load_state_dict(checkpoint.objective())
        restore_optimizer(engine.optimizer, engine.learning, checkpoint.optimizer())
    return engine


def spare_batch(mixture: Mixture, preparer: Preparer) -> Batch:
    """A batch of the first sample that can be had."""
    for number in range(len(mixture)):
        try:
            return preparer.collate([preparer.prepare(mixture[number])])
        except (ImageError, Unsupervised):
            continue
    raise DataError("no sample of the stage's data can be used")
