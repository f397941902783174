"""What a stage works with: who learns, where its steps come from, what takes them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from isthmus.core.checkpoint import Checkpoint, restore_optimizer
from isthmus.core.contracts import Batch, Mixed, ParameterGroup, Preparer
from isthmus.core.data.loader import StepLoader
from isthmus.core.data.matches import Matches
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.packed import PackedPlan
from isthmus.core.data.plan import Plan
from isthmus.core.data.stream import WINDOW, Place, StreamLoader
from isthmus.core.model.placeholders import Placeholders
from isthmus.core.train.engine import Engine, Root
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.optimizer import build_optimizer
from isthmus.core.train.plans import make_plan, make_window_plan, stage_cost
from isthmus.core.train.seeds import derive, seed_draws
from isthmus.core.train.session import Session
from isthmus.core.train.tuning import (
    NOTHING,
    Tuned,
    apply_tuners,
    refuse_batch_norms,
    set_precision,
)
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
    tuned = apply_tuners(parts, stage.config.train, stage.index)
    set_precision(parts, session.settings.precision == "bf16", learnt)
    for item in tuned:
        session.history.tuned(item)
    join(session, stage, fresh)
    return tuned


def join(session: Session, stage: OpenStage, fresh: bool) -> None:
    """Let the objective make what follows from the model's sizes. Weights of its own that the stage
    before has learnt with the same objective are handed over to one that begins; those of one that
    goes on come from its checkpoint."""
    objective = stage.objective
    for each in objective.each:
        each.admit(session.model.parts())
    seed_draws(derive(session.settings.seed, "objective", stage.index))
    with nullcontext() if fresh else Placeholders():
        objective.join(session.model)
    if fresh and session.heads and session.heads[0] == objective.name:
        objective.begin_as(session.heads[1])


def make_preparer(session: Session, stage: OpenStage) -> Preparer:
    """The maker of the stage's examples and batches."""
    tools = session.model.tools(stage.template, stage.config.max_length, session.settings.blind)
    return stage.objective.preparer(tools)


def make_loader(
    session: Session,
    stage: OpenStage,
    preparer: Preparer,
    first_step: int,
    data: Mapping[str, Any],
) -> StepLoader | StreamLoader:
    """This process's part of every step from `first_step` on; `data` is what the trainer's
    state says of those before it."""
    if stage.mixture.streamed is None:
        plan = make_plan(session, stage, preparer)
        skipped = int(data.get("skipped", 0))
        loader = _step_loader(session, stage, preparer, plan, stage.mixture, first_step)
        if session.parallel.world > 1:  # the stage counts what all of them leave out
            return replace(loader, max_skipped=1.0)
        return replace(loader, skipped=skipped)

    cost = stage_cost(session, stage)

    def load(window: Mixture, place: Place, first: int) -> StepLoader:
        plan = make_window_plan(session, stage, preparer, cost, window, place)
        return _step_loader(session, stage, preparer, plan, window, first)

    size = stage.config.batch.samples or 1
    return StreamLoader(
        stage.mixture.streamed,
        load,
        steps=stage.config.steps or 0,
        first_step=first_step,
        place=Place(**data.get("place", {})),
        window=-(-WINDOW // size) * size,
    )


def _step_loader(
    session: Session,
    stage: OpenStage,
    preparer: Preparer,
    plan: Plan | PackedPlan,
    mixture: Mixture,
    first_step: int,
) -> StepLoader:
    config, batch, parallel = stage.config, stage.config.batch, session.parallel
    return StepLoader(
        plan,
        mixture,
        preparer,
        rank=parallel.rank,
        world=parallel.world,
        workers=session.settings.workers,
        first_step=first_step,
        micro_samples=batch.micro_samples,
        micro_tokens=batch.micro_tokens,
        on_bad_image=config.on_bad_image,
        max_skipped=config.max_skipped,
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
    learning = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    if parameters := learning:
        groups.append(ParameterGroup("objective", parameters))
    if not groups:
        raise PartError(f"stages[{stage.index}].train: {NOTHING}")
    if checkpoint:
        objective.load_state_dict(checkpoint.objective())
    if session.parallel.world > 1:
        refuse_batch_norms(tuned)
    engine = Engine(
        Root(session.model, objective, session.settings.precision == "bf16"),
        build_optimizer(groups, config.optimizer),
        session.parallel,
        name=config.name,
        clip=config.optimizer.clip,
        seed=derive(session.settings.seed, "draws", stage.index),
        spare=lambda: spare_batch(stage.mixture, preparer),
        mode=config.parallel or session.settings.parallel,
        recompute=config.recompute,
        compiled=session.settings.compile,
    )
    if checkpoint:
        own = engine.shared.own(checkpoint.optimizer())
        restore_optimizer(engine.optimizer, engine.learning, own)
    return engine


def spare_batch(mixture: Mixture, preparer: Preparer) -> Batch:
    """A batch of the first sample that can be had, which counts for nothing."""
    for sample in mixture.samples():
        try:
            return _uncounted(preparer.collate([preparer.prepare(sample)]))
        except (ImageError, Unsupervised):
            continue
    raise DataError("no sample of the stage's data can be used")


def _uncounted(batch: Batch) -> Batch:
    """Nobody may compare its own samples with those of a batch that only keeps a process busy."""
    if isinstance(batch, Mixed):
        each = {id(own): _uncounted(own) for own in batch.batches}
        return Mixed(tuple(each[id(own)] for own in batch.batches))
    return replace(batch, weight=0.0) if isinstance(batch, Matches) else batch
