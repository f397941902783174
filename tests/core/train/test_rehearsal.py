"""What a late stage cannot train is said before the first one begins."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from isthmus.core.config import load
from isthmus.core.contracts import Events, StepEnded
from isthmus.core.model.build import build_model
from isthmus.core.train.config import RunConfig
from isthmus.core.train.opening import open_stages
from isthmus.core.train.rehearsal import rehearse
from isthmus.core.train.run import run
from isthmus.errors import Interrupted, PartError
from tests.core.train.tiny import stage, tiny_run, write_data

LORA = {"type": "lora", "r": 2}
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "layers that LoRA does not find": (
        {"train": {"llm": LORA | {"targets": ["q_prj"]}}},
        "stages[1].train.llm: tuner lora: targets: no linear layer of Causal is called 'q_prj'. "
        "Did you mean 'q_proj'?",
    ),
    "more layers than there are": (
        {"train": {"llm": {"type": "last_layers", "layers": 9}}},
        "stages[1].train.llm: tuner last_layers: layers: 9 of them, and Causal has 2 with weights",
    ),
    "norms of a part without": (
        {"train": {"connector": "norms"}},
        "stages[1].train.connector: tuner norms: Linear has no normalisation layers with weights; "
        "there is nothing to train. Write `full`, or leave the part out",
    ),
    "a module that is none": (
        {"train": {"llm": {"type": "by_module", "modules": {"modl": "full"}}}},
        "stages[1].train.llm: tuner by_module: modules: Causal has no module 'modl'. Did you mean",
    ),
    "nothing that learns": (
        {"train": {"llm": "frozen"}},
        "stages[1].train: nothing learns; write `full` or another tuner for at least one part",
    ),
    "images as long as a sample": (  # four patches each
        {"max_length": 4},
        "stages[1].max_length: an image becomes 4 visual tokens or more, which are never cut, and "
        "a sample of 4 has no place for words",
    ),
    "dpo of what is no adapter": (
        {"train": {"llm": LORA, "connector": "full"}, "objective": "dpo"},
        "stages[1].train: objective dpo: its reference is the model without adapters",
    ),
}


def two_stages(folder: Path, **second: Any) -> dict[str, Any]:
    write_data(folder, 4)
    return tiny_run(folder, stage(folder), stage(folder, **{"name": "instruct"} | second))


@pytest.mark.parametrize("case", CASES)
def test_it_is_said_before_a_stage_runs_and_nothing_is_written(case: str, tmp_path: Path) -> None:
    second, message = CASES[case]
    with pytest.raises(PartError) as said:
        run(two_stages(tmp_path, **second))
    assert str(said.value).startswith(message)
    assert not (tmp_path / "run").exists()


def test_all_that_cannot_learn_is_said_at_once(tmp_path: Path) -> None:
    values = two_stages(tmp_path, train={"connector": "norms", "llm": LORA | {"targets": ["x"]}})
    with pytest.raises(PartError) as said:
        run(values)
    first, *lines = str(said.value).splitlines()
    assert first == "2 problems with the stages"
    assert [line.split(":")[0].strip() for line in lines] == [
        "stages[1].train.connector",
        "stages[1].train.llm",
    ]


def test_model_is_as_it_was(tmp_path: Path) -> None:
    values = two_stages(tmp_path, train={"llm": LORA, "connector": "full", "encoder": "norms"})
    settings = load(RunConfig, values)
    stages = open_stages(settings)
    model = build_model(settings.model, texts=lambda: ["What is it?"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learns = {name: p.requires_grad for name, p in model.named_parameters()}
    draws = torch.get_rng_state()
    rehearse(model, stages)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert learns == {name: p.requires_grad for name, p in model.named_parameters()}
    assert torch.equal(draws, torch.get_rng_state())


def test_what_an_earlier_stage_adds_to_waits_for_its_stage(tmp_path: Path) -> None:
    kept = {"llm": LORA | {"hand_over": "keep"}}
    inside = "model.model.layers.0.self_attn.q_proj.lora_A"
    write_data(tmp_path, 4)
    named = {"llm": {"type": "by_module", "modules": {inside: "full"}}}
    stages = stage(tmp_path, train=kept, steps=1), stage(tmp_path, name="b", train=named, steps=1)
    assert run(tiny_run(tmp_path, *stages)).name == "02-b-000001"


def test_stopped_under_one_adapter_it_goes_on_to_another(tmp_path: Path) -> None:
    write_data(tmp_path, 4)
    stages = (
        stage(tmp_path, train={"llm": LORA}, steps=4),
        stage(tmp_path, name="b", train={"llm": LORA | {"r": 4}}, steps=1),
    )
    values = tiny_run(tmp_path, *stages)

    class Stopping(Events):
        def step_ended(self, event: StepEnded) -> None:
            if event.step == 1:  # the step after it is the last
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        run(values, events=Stopping())
    assert run(values, resume=True).name == "02-b-000001"


def test_part_that_cannot_be_copied_is_tried_when_its_stage_begins(tmp_path: Path) -> None:
    settings = load(RunConfig, two_stages(tmp_path, train={"connector": "norms"}))
    model: Any = build_model(settings.model, texts=lambda: ["What is it?"])
    with pytest.raises(PartError, match=r"stages\[1\]\.train\.connector"):
        rehearse(model, open_stages(settings))
    model.connector.lock = threading.Lock()
    assert rehearse(model, open_stages(settings)) is None
