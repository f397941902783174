"""Which samples a stage's steps take: the plan, made from their sizes and what they cost."""

from __future__ import annotations

from isthmus.core.contracts import Encoder, Preparer
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.packed import PackedPlan
from isthmus.core.data.plan import Plan
from isthmus.core.data.sizes import Cost, Sizes
from isthmus.core.data.stream import Place
from isthmus.core.model.vlm import VisionLanguageModel, learns
from isthmus.core.train.config import BatchConfig
from isthmus.core.train.measuring import measured, stage_sizes
from isthmus.core.train.opening import OpenStage
from isthmus.core.train.seeds import derive
from isthmus.core.train.session import Session
from isthmus.errors import PartError


def make_plan(session: Session, stage: OpenStage, preparer: Preparer) -> Plan | PackedPlan:
    """The stage's steps. Samples are measured only where steps, packs or the shares of several
    processes follow from their lengths."""
    cost = stage_cost(session, stage)
    sizes = stage_sizes(session, stage, preparer) if cost else None
    seed = derive(session.settings.seed, "order", stage.index)
    config = stage.config
    return _plan(config.batch, stage.mixture, sizes, cost, seed, config.epochs, config.steps)


def make_window_plan(
    session: Session,
    stage: OpenStage,
    preparer: Preparer,
    cost: Cost | None,
    window: Mixture,
    place: Place,
) -> Plan | PackedPlan:
    """The steps of a window of the stage's stream, each sample once. `cost` is one of before
    training began: processes may hold slices of the model by now."""
    sizes = measured(session, stage, preparer, window) if cost else None
    seed = derive(session.settings.seed, "order", stage.index, place.reading, place.samples)
    return _plan(stage.config.batch, window, sizes, cost, seed, epochs=1)


def _plan(
    batch: BatchConfig,
    mixture: Mixture,
    sizes: Sizes | None,
    cost: Cost | None,
    seed: int,
    epochs: float | None = None,
    steps: int | None = None,
) -> Plan | PackedPlan:
    lengths = costs = None
    if sizes and cost:
        lengths, costs = sizes.tokens, cost.of(sizes)
    if lengths and batch.tokens and batch.capacity:
        return PackedPlan(
            mixture,
            lengths,
            capacity=batch.capacity,
            packs=batch.tokens // batch.capacity,
            most=batch.micro_samples,
            epochs=epochs,
            steps=steps,
            seed=seed,
            costs=costs,
        )
    return Plan(
        mixture,
        samples=batch.samples,
        tokens=batch.tokens,
        epochs=epochs,
        steps=steps,
        seed=seed,
        lengths=lengths,
        costs=costs,
    )


def stage_cost(session: Session, stage: OpenStage) -> Cost | None:
    """What the stage's samples cost; None where no plan asks for it."""
    batch = stage.config.batch
    if batch.tokens or (batch.micro_tokens and session.parallel.world > 1):
        return sample_cost(session.model)
    return None


def sample_cost(model: VisionLanguageModel) -> Cost:
    """What samples cost by the shapes of the model: FLOPs of its matrices and of attention,
    relative to one token's in the LLM's layers.

    A part that learns counts three times its forward pass, an LLM that does not twice (its
    inputs' gradients), a frozen encoder once. An image is one of 336 x 336 pixels. Of a model
    that has no LLM, or does not show its layers, nothing is known but `Cost`'s defaults.
    """
    if model.llm is None:
        return Cost()
    try:
        stacks = model.llm.stacks
    except PartError:
        return Cost()
    # A token goes through one stack alone, in an encoder-decoder through this or that.
    layers = sum(map(len, stacks)) / len(stacks)
    weights = sum(p.numel() for stack in stacks for p in stack.parameters()) / len(stacks)
    image = 0.0
    if isinstance(model.encoder, Encoder):
        seen = sum(grid.num_features for grid in model.encoder.transform.grids((336, 336)))
        work = seen * sum(p.numel() for p in model.encoder.parameters())
        times = (3 if learns(model.encoder) else 1) / (3 if learns(model.llm) else 2)
        image = times * work / weights
    return Cost(square=layers * model.llm.dim / weights, image=image)
