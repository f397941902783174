"""Does an objective keep its contract (`isthmus.core.contracts.objective`)?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from isthmus.core.contracts import (
    Batch,
    Loss,
    Matcher,
    Objective,
    Preparer,
    Sample,
    Template,
    Tools,
)
from isthmus.core.model.build import build_model
from isthmus.errors import ImageError
from isthmus.testing.matcher import check_belonging
from isthmus.testing.promises import build, check_config, close, in_worker, promise
from isthmus.testing.tiny import tiny_model_config, tiny_samples, tiny_template, tiny_texts


def check_objective(
    config: Objective.Config,
    model: Any = None,
    samples: Sequence[Sample] | None = None,
    template: Template | None = None,
) -> None:
    """Let the objective make batches of some samples and learn from them; raises ContractBroken.

    `model` is, absent, a tiny one of encoder, connector and LLM; it is one with `parts()` and
    `tools(template)`, as `isthmus.core.model.vlm.VisionLanguageModel`.
    """
    check_config(config)
    objective: Objective = build(config)
    name = type(objective).__qualname__
    model = (model or build_model(tiny_model_config(), texts=tiny_texts)).eval()
    absent = config.needs - model.parts().keys()
    promise(not absent, f"{name}.needs: the model has no part {', '.join(sorted(absent))}")
    objective = _joined(config, model)
    samples = list(samples or tiny_samples())
    tools: Tools = model.tools(template or tiny_template())
    preparer: Preparer = in_worker(objective.preparer(tools))
    _check_lengths(name, preparer, samples)
    batch = _batch(preparer, samples)
    _check_batch(objective, batch, preparer, samples)
    _check_loss(objective, model, batch)
    if config.accumulates:
        _check_sum(objective, model, preparer, samples)
    for each in objective.each:
        if isinstance(each, Matcher):
            check_belonging(each, model, tools, samples)
    again = _joined(config, model, seed=1)
    again.load_state_dict(objective.state_dict(), strict=True)
    close(
        again(model, batch).sum, objective(model, batch).sum, f"{name}: with its weights reloaded"
    )


def _joined(config: Objective.Config, model: Any, seed: int = 0) -> Objective:
    """The objective as a stage on this model has it, in eval mode."""
    objective: Objective = build(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective.join(model)
    return objective.eval()


def _batch(preparer: Preparer, samples: Sequence[Sample]) -> Batch:
    return preparer.collate([preparer.prepare(sample) for sample in samples])


def _check_lengths(name: str, preparer: Preparer, samples: Sequence[Sample]) -> None:
    for sample in samples:
        said, found = preparer.length(sample), preparer.prepare(sample).num_tokens
        promise(
            said == found,
            f"{name}: its preparer's `length` promises {said} tokens of sample {sample.id!r}, "
            f"`prepare` gives {found}",
        )
        if not sample.images:
            continue
        cut = replace(sample, images=(_cut(), *sample.images[1:]))
        try:
            preparer.length(cut)
        except ImageError:
            promise(False, f"{name}: its preparer's `length` decodes pixels; the header will do")
        try:
            preparer.prepare(cut)
        except ImageError:
            continue
        promise(False, f"{name}: a picture that is cut short must raise ImageError")


def _cut() -> bytes:
    """A picture whose header is there, and half of its pixels."""
    buffer = BytesIO()
    Image.effect_noise((64, 64), 90).save(buffer, "PNG")
    return buffer.getvalue()[: buffer.tell() // 2]


def _check_batch(
    objective: Objective, batch: Batch, preparer: Preparer, samples: Sequence[Sample]
) -> None:
    name = type(objective).__qualname__
    wanted = (
        tuple(sample.id for sample in samples),
        sum(preparer.length(sample) for sample in samples),
        sum(len(sample.images) for sample in samples),
    )
    found = (tuple(batch.samples), batch.num_tokens, batch.num_images)
    promise(
        found == wanted,
        f"{name}: a batch's samples, num_tokens and num_images are {found} instead of {wanted}",
    )
    weights = objective.weights(batch)
    promise(
        len(weights) == objective.terms and min(weights) > 0,
        f"{name}: the batch's weights are {weights}; they divide {objective.terms} terms of a loss",
    )
    moved = batch.to(torch.device("cpu"))
    promise(type(moved) is type(batch), f"{name}: `to` of a batch must give a batch")


def _check_loss(objective: Objective, model: Any, batch: Batch) -> None:
    name = type(objective).__qualname__
    loss: Loss = objective(model, batch)
    promise(
        loss.sum.shape == ((objective.terms,) if objective.terms > 1 else ())
        and bool(loss.sum.isfinite().all())
        and loss.sum.requires_grad,
        f"{name}: `Loss.sum` is a finite scalar with a gradient (or one of as many as it has "
        f"terms), not {loss.sum!r}",
    )
    said = objective.weights(batch)
    promise(
        _weights(loss) == said,
        f"{name}: the batch said its weight is {', '.join(map(str, said))}, the loss says "
        f"{loss.weight}",
    )
    close(objective(model, batch).sum, loss.sum, f"{name}: run twice in eval mode")
    own = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    total = loss.sum.sum()
    gradients = torch.autograd.grad(total, list(own.values()), allow_unused=True) if own else ()
    without = [key for key, got in zip(own, gradients, strict=True) if got is None]
    promise(not without, f"{name}: no gradient reaches its own {', '.join(without)}")


def _check_sum(
    objective: Objective, model: Any, preparer: Preparer, samples: Sequence[Sample]
) -> None:
    """Loss, weight, metrics and gradient of a batch are the sums of its samples'."""
    name = type(objective).__qualname__
    whole: Loss = objective(model, _batch(preparer, samples))
    alone: list[Loss] = [objective(model, _batch(preparer, [sample])) for sample in samples]
    added = [sum(own) for own in zip(*map(_weights, alone), strict=True)]
    promise(
        all(abs(w - a) < 1e-6 for w, a in zip(_weights(whole), added, strict=True)),
        f"{name}: the batch weighs {whole.weight}, its samples {[loss.weight for loss in alone]}",
    )
    close(
        torch.stack([loss.sum for loss in alone]).sum(dim=0),
        whole.sum,
        f"{name}: the samples' losses added up, and the batch's (or say `accumulates = False`)",
    )
    names = {tuple(loss.metrics) for loss in (whole, *alone)}
    promise(len(names) == 1, f"{name}: every batch has metrics of the same names; here {names}")
    for key, value in whole.metrics.items():
        parts = torch.stack([loss.metrics[key].detach().float() for loss in alone])
        close(
            parts.sum(dim=0),
            value.detach().float(),
            f"{name}: its metric {key!r}, a sum like the loss",
        )
    learning = [p for p in nn.ModuleList([model, objective]).parameters() if p.requires_grad]
    close(
        sum((_gradient(loss, learning) for loss in alone), torch.zeros(())),
        _gradient(whole, learning),
        f"{name}: the samples' gradients added up, and the batch's",
    )


def _weights(loss: Loss) -> tuple[float, ...]:
    return loss.weight if isinstance(loss.weight, tuple) else (loss.weight,)


def _gradient(loss: Loss, parameters: list[nn.Parameter]) -> Tensor:
    found = torch.autograd.grad(loss.sum.sum(), parameters, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
