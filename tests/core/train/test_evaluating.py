"""A stage asks its benchmarks at the right steps, and learns as if nobody had asked anything."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from isthmus.core.assistant import load as load_assistant
from isthmus.core.config import load
from isthmus.core.contracts import EvaluateDue, EventList, Events
from isthmus.core.train.config import RunConfig
from isthmus.core.train.evaluating import check_evaluation
from isthmus.core.train.opening import needed_parts, open_stages
from isthmus.core.train.run import run
from isthmus.errors import ConfigError, DataError, InputError, Interrupted
from isthmus.evaluate.training import Evaluator
from tests.core.train.listeners import Crash, Recorder, crash_at, metrics, weights
from tests.core.train.test_ranks import torchrun
from tests.core.train.tiny import COLOURS, source, stage, tiny_run, write_data

ALL = {"encoder": "full", "connector": "full", "llm": "full"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Samples to learn from, and eight questions about the same pictures."""
    write_data(tmp_path, 8)
    rows = [
        {"question_id": n, "image": f"{n}.png", "text": "What colour is it?", "answer": colour}
        for n, colour in enumerate(COLOURS)
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def evaluate(data: Path, **fields: Any) -> dict[str, Any]:
    exam = {
        "type": "generic",
        "data": str(data / "questions.jsonl"),
        "images": str(data / "pictures"),
    }
    return {"benchmarks": {"colours": exam}, "every": 2, "max_new_tokens": 12, **fields}


class Disturber(Recorder):
    """Evaluates by doing all that an evaluator must not: what it leaves behind is undone."""

    def __init__(self) -> None:
        super().__init__()
        self.evaluates = True
        self.due: list[EvaluateDue] = []

    def evaluate_due(self, event: EvaluateDue) -> Mapping[str, float]:
        self.due.append(event)
        torch.manual_seed(1)
        torch.randn(3)
        random.seed(1)
        np.random.seed(1)
        event.model.eval()
        assert not event.model.training
        assert event.go_on()
        return {"colours/found": float(event.step)}


def test_benchmarks_are_due_at_their_steps_and_at_the_end(data: Path) -> None:
    heard = Disturber()
    validation = {"data": [source(data)], "every": 3}
    one = stage(data, steps=5, evaluate=evaluate(data), validation=validation)
    run(tiny_run(data, one, stage(data, name="second", steps=1)), events=heard)
    assert [event.step for event in heard.due] == [2, 4, 5]
    assert heard.due[0].benchmarks["colours"].name == "generic"
    assert (heard.due[0].max_questions, heard.due[0].batch_size) == (200, 8)
    told = [(event.step, next(iter(event.metrics))) for event in heard.evaluated_]
    assert told == [
        (2, "colours/found"),
        (3, "val_loss"),
        (4, "colours/found"),
        (5, "val_loss"),
        (5, "colours/found"),
    ]
    logged = [line for line in metrics(data / "run") if "colours/found" in line]
    assert logged == [{"stage": "align", "step": n, "colours/found": n} for n in (2, 4, 5)]


def test_a_run_that_is_evaluated_has_the_bytes_of_one_that_is_not(data: Path) -> None:
    dropping = tiny_run(data)["model"]
    dropping["llm"]["config"] |= {"attention_dropout": 0.1}
    fields: dict[str, Any] = {"steps": 5, "train": ALL, "save_every": 2}
    plain = run(tiny_run(data, stage(data, **fields), model=dropping))
    for name, listener in (("asked", Evaluator()), ("disturbed", Disturber())):
        asked = stage(data, **fields, evaluate=evaluate(data, every=1))
        config = tiny_run(data, asked, model=dropping, out=str(data / name))
        assert weights(run(config, events=listener)) == weights(plain)
        trained = [line for line in metrics(data / name) if "loss" in line]
        assert trained == metrics(data / "run")


def test_metrics_are_what_the_checkpoint_of_that_step_answers(data: Path) -> None:
    heard = Recorder()
    fields: dict[str, Any] = {"train": ALL, "optimizer": {"lr": 1e-2}, "batch": {"samples": 8}}
    asked = evaluate(data, every=None)
    stages = (
        stage(data, **fields, name=name, steps=steps, evaluate=asked)
        for name, steps in (("first", 25), ("second", 15))
    )
    run(tiny_run(data, *stages), events=both_of(heard))
    found = {event.stage: event.metrics for event in heard.evaluated_}
    for number, (name, steps) in enumerate((("first", 25), ("second", 15)), 1):
        folder = data / "run" / "checkpoints" / f"{number:02}-{name}-{steps:06}"
        assistant = load_assistant(folder, device="cpu")
        right = 0
        for place, colour in enumerate(COLOURS):
            image = {"type": "image", "image": data / "pictures" / f"{place}.png"}
            text = {"type": "text", "text": "What colour is it?"}
            reply = assistant.reply([{"role": "user", "content": [image, text]}], max_new_tokens=12)
            right += colour in reply.replace(".", " ").split()
        assert found[name] == {"colours/accuracy": pytest.approx(100 * right / len(COLOURS))}
    assert found["second"]["colours/accuracy"] > 0


def both_of(*listeners: Events) -> Events:
    return EventList([*listeners, Evaluator()])


def test_it_goes_on_after_a_crash_as_if_there_had_been_none(data: Path) -> None:
    asked = stage(data, steps=5, save_every=2, evaluate=evaluate(data))
    whole = run(tiny_run(data, asked), events=Evaluator())
    broken = tiny_run(data, asked, out=str(data / "broken"))
    for step in (1, 3, 5):
        with pytest.raises(Crash):
            run(broken, events=both_of(crash_at("align", step)), resume=True)
    assert weights(run(broken, events=Evaluator(), resume=True)) == weights(whole)
    assert metrics(data / "broken") == metrics(data / "run")
    # What is asked, and whether, may differ between the parts of a run.
    other = tiny_run(data, stage(data, steps=5, save_every=2), out=str(data / "other"))
    with pytest.raises(Crash):
        run(other, events=crash_at("align", 3))
    other["stages"][0]["evaluate"] = evaluate(data)
    assert weights(run(other, events=Evaluator(), resume=True)) == weights(whole)


class Signalled(Evaluator):
    """Gets a signal while it asks at a step; counts the questions of what it began."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step
        self.asked: list[int] = []

    def evaluate_due(self, event: EvaluateDue) -> Mapping[str, float] | None:
        self.asked.append(event.step)
        if event.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().evaluate_due(event)


@pytest.mark.parametrize("at", [2, 4])
def test_an_evaluation_that_a_signal_cut_short_is_made_up_for(data: Path, at: int) -> None:
    validation = {"data": [source(data)], "every": 2}
    asked = stage(data, steps=4, validation=validation, evaluate=evaluate(data, batch_size=3))
    whole = run(tiny_run(data, asked), events=Evaluator())
    stopped = tiny_run(data, asked, out=str(data / "stopped"))
    with pytest.raises(Interrupted, match=f"after step {at} of 4"):
        run(stopped, events=Signalled(at))
    heard = Signalled(0)
    final = run(stopped, events=heard, resume=True)
    assert heard.asked == list(range(at, 5, 2))
    assert weights(final) == weights(whole)
    assert metrics(data / "stopped") == metrics(data / "run")


def test_bf16_and_lora_are_asked_as_they_are(data: Path) -> None:
    train = {"connector": "full", "llm": {"type": "lora", "r": 2}}
    fields: dict[str, Any] = {"steps": 2, "train": train}
    config = tiny_run(data, stage(data, **fields), precision="bf16")
    plain = run(config)
    asked = tiny_run(data, stage(data, **fields, evaluate=evaluate(data)), precision="bf16")
    heard = Recorder()
    final = run(asked | {"out": str(data / "asked")}, events=both_of(heard))
    assert weights(final) == weights(plain)
    assert [event.step for event in heard.evaluated_] == [2]


def test_what_cannot_be_asked_is_refused_before_anything_is_written(data: Path) -> None:
    config = tiny_run(data, stage(data, evaluate=evaluate(data)))
    with pytest.raises(InputError, match=r"stages\[0\]\.evaluate: nobody is here to ask"):
        run(config)
    with pytest.raises(InputError, match="nobody is here to ask"):
        run(config, events=Recorder())
    (data / "questions.jsonl").write_text(
        '{"question_id": 1, "text": "?", "image": "x.png", "answer": "a"}'
    )
    with pytest.raises(
        DataError, match=r"stages\[0\]\.evaluate\.benchmarks\.colours: .*\n.*x\.png"
    ):
        run(config, events=Evaluator())
    judged = {"benchmarks": {"wild": {"type": "llava_bench"}}}
    with pytest.raises(ConfigError, match=r"evaluate\.benchmarks\.wild: llava_bench: its answers"):
        run(tiny_run(data, stage(data, evaluate=judged)), events=Evaluator())
    assert not (data / "run").exists()


@pytest.mark.slow
def test_two_processes_wait_for_one_that_asks_however_long(data: Path) -> None:
    asked = stage(data, steps=2, batch={"samples": 4}, evaluate=evaluate(data, batch_size=2))
    file = data / "run.yaml"
    file.write_text(yaml.safe_dump(tiny_run(data, asked)))
    run(file, events=Evaluator())
    # Patience of 3 s, and four batches of 2 s each.
    ran = torchrun("-m", "tests.core.train.slow_evaluation", str(file), str(data / "two"))
    assert ran.returncode == 0, ran.stderr
    found, wanted = metrics(data / "two"), metrics(data / "run")
    assert [line for line in found if "loss" not in line] == [
        line for line in wanted if "loss" not in line
    ]
    assert len(found) == len(wanted)


def test_the_llm_is_there_to_answer_where_nothing_else_needs_it(data: Path) -> None:
    seeing = SimpleNamespace(config=SimpleNamespace(runs=lambda parts: frozenset({"encoder"})))

    def needed(**fields: Any) -> set[str]:
        config = tiny_run(data, stage(data, train={"encoder": "full"}, **fields))
        settings = load(RunConfig, config)
        (opened,) = open_stages(settings)
        return needed_parts(settings, [replace(opened, objective=seeing)])  # type: ignore[arg-type]

    assert needed() == {"encoder"}
    assert needed(evaluate=evaluate(data)) == {"encoder", "connector", "llm"}


@dataclass
class Processes:
    """As many as a launcher started."""

    world: int


def test_slices_of_a_model_are_not_asked(data: Path) -> None:
    asked = tiny_run(data, stage(data, evaluate=evaluate(data)), parallel="fsdp")
    settings = load(RunConfig, asked)
    with pytest.raises(InputError, match=r"stages\[0\]\.evaluate: under `parallel: fsdp` no"):
        check_evaluation(settings, Processes(2), Evaluator())  # type: ignore[arg-type]
    check_evaluation(settings, Processes(1), Evaluator())  # type: ignore[arg-type]
    whole = load(RunConfig, asked, ["stages.0.parallel=ddp"])
    check_evaluation(whole, Processes(2), Evaluator())  # type: ignore[arg-type]
