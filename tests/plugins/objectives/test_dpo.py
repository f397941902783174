"""DPO beside a loop written from the paper, with a copy of the model as its reference."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from isthmus.core.config import create, validate_part
from isthmus.core.contracts import Sample
from isthmus.core.data.pack import collate, encode_sample
from isthmus.core.model.build import build_model
from isthmus.core.train.lines import read_lines
from isthmus.core.train.run import run
from isthmus.core.train.tuning import apply_tuners
from isthmus.errors import PartError, Unsupervised
from isthmus.testing import check_objective, tiny_model_config, tiny_samples, tiny_texts
from tests.core.train.tiny import stage, tiny_run, write_data


def lora() -> Any:
    return validate_part("tuner", {"type": "lora", "r": 2, "hand_over": "keep"})


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    built = build_model(tiny_model_config(), texts=tiny_texts).eval()
    apply_tuners(built.parts(), {"llm": lora()})
    return built


def samples() -> list[Sample]:
    return [replace(sample, rejected="A blue boat, no.") for sample in tiny_samples()]


def stray(model: Any) -> None:
    """Adapters that have learnt something."""
    torch.manual_seed(1)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.data.normal_(std=0.3)


def log_likelihood(model: Any, sample: Sample) -> Tensor:
    pack = collate([encode_sample(sample, model.tools(create("template", "vicuna_v1")))])
    logits = torch.log_softmax(model.llm.head(model.hidden(pack)), dim=1)
    total = torch.zeros(())
    for row, target in zip(logits, pack.targets.tolist(), strict=True):
        if target >= 0:
            total = total + row[target]
    return total


def test_loss_and_gradient_are_the_papers(model: Any):
    reference = copy.deepcopy(model)
    stray(model)
    objective: Any = create("objective", "dpo", beta=0.3)
    objective.join(model)
    objective.sure = True
    preparer = objective.preparer(model.tools(create("template", "vicuna_v1")))
    batch = preparer.collate([preparer.prepare(sample) for sample in samples()])
    loss = objective(model, batch)
    wanted, right = torch.zeros(()), 0
    for sample in samples():
        turn = replace(sample.turns[-1], content=("A blue boat, no.",))
        other = replace(sample, turns=(*sample.turns[:-1], turn))
        with torch.no_grad():
            base = log_likelihood(reference, sample) - log_likelihood(reference, other)
        gained = log_likelihood(model, sample) - log_likelihood(model, other) - base
        wanted = wanted - torch.log(torch.sigmoid(0.3 * gained))
        right += int(gained > 0)
    torch.testing.assert_close(loss.sum, wanted, rtol=1e-5, atol=1e-5)
    assert (loss.weight, float(loss.metrics["accuracy"])) == (3.0, right)
    learning = [p for p in model.parameters() if p.requires_grad]
    ours = torch.autograd.grad(loss.sum, learning)
    theirs = torch.autograd.grad(wanted, learning)
    for mine, other_one in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other_one, rtol=1e-4, atol=1e-5)


def test_before_anything_is_learnt_the_loss_is_that_of_a_coin(model: Any):
    objective: Any = create("objective", "dpo")
    objective.join(model)
    preparer = objective.preparer(model.tools(create("template", "vicuna_v1")))
    batch = preparer.collate([preparer.prepare(sample) for sample in samples()])
    loss = objective(model, batch)
    assert float(loss.sum.detach()) == pytest.approx(3 * math.log(2), rel=1e-6)
    assert not any(layer.disable_adapters for layer in model.modules() if hasattr(layer, "lora_A"))


def test_dpo_conforms(model: Any):
    check_objective(validate_part("objective", {"type": "dpo"}), model, samples())


def test_adapters_of_an_earlier_stage_are_no_beginning(model: Any):
    stray(model)
    objective: Any = create("objective", "dpo")
    objective.join(model)
    preparer = objective.preparer(model.tools(create("template", "vicuna_v1")))
    batch = preparer.collate([preparer.prepare(samples()[0])])
    with pytest.raises(PartError, match="write `hand_over: merge` in that stage"):
        objective(model, batch)


def test_that_one_stage_began_rightly_says_nothing_of_the_next(model: Any):
    first: Any = create("objective", "dpo")
    first.join(model)
    first.fresh.zero_()
    stray(model)
    objective: Any = create("objective", "dpo")
    objective.join(model)
    objective.begin_as(first.state_dict())
    preparer = objective.preparer(model.tools(create("template", "vicuna_v1")))
    with pytest.raises(PartError, match="the adapters have learnt in an earlier stage"):
        objective(model, preparer.collate([preparer.prepare(samples()[0])]))


def test_what_learns_beside_adapters_is_refused(model: Any):
    model.connector.requires_grad_(True)
    with pytest.raises(PartError, match=r"'connector\.\S+' learns by itself"):
        create("objective", "dpo").admit(model.parts())


def test_sample_without_a_rejected_answer_is_left_out(model: Any):
    objective: Any = create("objective", "dpo")
    preparer = objective.preparer(model.tools(create("template", "vicuna_v1")))
    with pytest.raises(Unsupervised, match="has no `rejected` answer"):
        preparer.prepare(tiny_samples()[0])


def test_a_run_learns_what_is_liked(tmp_path: Path):
    file = write_data(tmp_path, 8)
    records = json.loads(file.read_text())
    for record in records:
        record["rejected"] = "No idea at all."
    file.write_text(json.dumps(records))
    fields = {
        "train": {"llm": {"type": "lora", "r": 4, "lr": 0.02}},
        "objective": {"type": "dpo"},
        "batch": {"samples": 8, "micro_samples": 4},
        "steps": 12,
    }
    run(tiny_run(tmp_path, stage(tmp_path, **fields)))
    lines = list(read_lines(tmp_path / "run" / "metrics.jsonl"))
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    assert lines[-1]["accuracy"] == 1.0
