"""Two processes against one, and against every sample by itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from isthmus.core.config import load as load_config
from isthmus.core.data.plan import Plan
from isthmus.core.train.config import RunConfig
from isthmus.core.train.lines import read_lines
from isthmus.core.train.opening import open_stages
from isthmus.core.train.run import run
from isthmus.core.train.seeds import derive
from tests.core.train.step_gradients import SAMPLES, gradients, setting
from tests.core.train.tiny import source, stage, tiny_run, write_data

REPOSITORY = Path(__file__).parents[3]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven records: five of pictures and words, five whose odd ones have no picture, one."""
    folder = tmp_path_factory.mktemp("ranks")
    pictures = json.loads(write_data(folder, 9, text_only=4).read_text())
    with_image, without = pictures[:9], pictures[9:]
    mixed = [*with_image[:4], without[0]]
    odd = [with_image[4], without[1], with_image[5], without[2], with_image[6]]
    (folder / "data.json").write_text(json.dumps([*mixed, *odd, with_image[7]]))
    return folder


EVERYTHING = None
TUNERS: list[dict[str, str] | None] = [
    {"connector": "full"},
    {"connector": "full", "llm": "lora"},
    {"connector": "full", "llm": "full"},
    EVERYTHING,
]


@pytest.fixture(scope="module")
def alone(data: Path) -> list[dict[str, Tensor]]:
    """One process, accumulating; for each of TUNERS."""
    return [gradients(data, "ddp", tuners)[2] for tuners in TUNERS]


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine, talking over gloo."""
    command = [*TORCHRUN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=REPOSITORY)


def close(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Largest difference, of equal names."""
    assert found.keys() == wanted.keys()
    return max(float((found[name] - wanted[name]).abs().max()) for name in found)


def test_one_process_has_the_gradient_of_every_sample_by_itself(
    data: Path, alone: list[dict[str, Tensor]]
):
    one = alone[TUNERS.index(EVERYTHING)]
    root, mixture, preparer = setting(data)
    loss = [0.0, 0.0, 0.0]
    for step in range(3):
        numbers = range(step * SAMPLES, min((step + 1) * SAMPLES, len(mixture)))
        packs = [preparer.collate([preparer.prepare(mixture[number])]) for number in numbers]
        weight = sum(pack.weight for pack in packs)
        root.zero_grad()
        for pack in packs:
            total = root(pack)[0]
            (total / weight).backward()
            loss[step] += total.item() / weight
        wanted = {
            f"{step}/{name}": torch.zeros_like(p) if p.grad is None else p.grad
            for name, p in root.named_parameters()
        }
        found = {name: one[name] for name in wanted}
        assert close(found, wanted) <= 1e-6
        assert float(one[f"{step}/loss"]) == pytest.approx(loss[step], abs=1e-6)


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_have_the_loss_and_gradient_of_one(
    data: Path, alone: list[dict[str, Tensor]], tmp_path: Path, mode: str
):
    out = tmp_path / "two.safetensors"
    module = ("-m", "tests.core.train.step_gradients")
    ran = torchrun(*module, str(data), str(out), mode, json.dumps(TUNERS))
    assert ran.returncode == 0, ran.stderr
    assert "Warning" not in ran.stderr
    shares = {
        (int(rank), int(step)): (json.loads(sizes), int(images))
        for rank, step, sizes, images in re.findall(
            r"rank (\d) step (\d) samples (\[.*?\]) images (\d+)", ran.stdout
        )
    }
    assert sorted(shares[0, 0][0]) == [1, 2]  # two micro-batches, while the other has one
    assert shares[1, 0][0] == [2]
    assert shares[1, 1][1] == 0  # no image
    assert shares[1, 2][0] == []  # no batch at all
    wanted = {f"{i}/{name}": each for i, one in enumerate(alone) for name, each in one.items()}
    assert close(load_file(out), wanted) <= 1e-6
    # A loss that is not finite on one process stops both, and they name the same samples.
    said = re.findall(r"rank \d says (.*)", ran.stdout)
    assert len(said) == 2
    assert said[0] == said[1]
    assert "align, step 1: the loss is not finite" in said[0]
    assert "Samples: p1, p3." in said[0]
    assert said[0].endswith("unmoved")


@pytest.mark.slow
def test_too_many_left_out_end_a_resumed_run_where_they_end_the_whole_one(tmp_path: Path):
    write_data(tmp_path, 12)
    config = load_config(RunConfig, tiny_run(tmp_path))
    order = Plan(open_stages(config)[0].mixture, samples=4, epochs=1, seed=derive(0, "order", 0))
    # The first process loses one of every step's four samples, the second none; two may go.
    for step in range(3):
        number = order.numbers(step)[0]
        (tmp_path / "pictures" / f"{number}.png").write_bytes(b"no picture")
    skip = {"on_bad_image": "skip", "max_skipped": 0.17, "steps": None, "epochs": 1}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(tiny_run(tmp_path, stage(tmp_path, save_every=1, **skip))))
    for more in ((), ("--resume",)):
        ran = torchrun("-m", "isthmus", "train", str(file), *more)
        assert ran.returncode != 0
        assert "step 3: 3 samples were left out, more than the share of 0.17" in ran.stderr
    saved = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert saved == ["01-align-000001", "01-align-000002"]


@pytest.mark.slow
def test_a_run_of_two_processes_is_that_of_one(tmp_path: Path):
    write_data(tmp_path, 9, text_only=3)
    stages = [
        stage(
            tmp_path,
            name=name,
            train=train,
            batch=batch,
            epochs=1,
            steps=None,
            validation={"data": [source(tmp_path)]},
        )
        for name, train, batch in (
            ("align", {"connector": "full"}, {"samples": 5, "micro_samples": 2}),
            ("instruct", {"llm": "full"}, {"tokens": 400, "micro_tokens": 130}),
        )
    ]
    lines = map(json.dumps, json.loads((tmp_path / "data.json").read_text()))
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    flow = source(tmp_path) | {"file": str(tmp_path / "data.jsonl"), "stream": True}
    stages.append(stages[1] | {"name": "flow", "data": [flow], "epochs": None, "steps": 8})
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(tiny_run(tmp_path, *stages)))
    last = run(config)
    two = tmp_path / "two"
    verb = ("-m", "isthmus", "train", str(config), "--out", str(two))
    ran = torchrun(*verb)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Stage 1 of 3") == 1  # one process talks

    found, wanted = (read_lines(out / "metrics.jsonl") for out in (two, tmp_path / "run"))
    assert len(found) == len(wanted)
    assert any(line.get("packs") == 3 for line in wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        counts = {"supervised", "images", "packs", "packing"}
        for key in {"loss", "grad_norm", "val_loss", "grounding", *counts}:
            assert mine.get(key) == pytest.approx(theirs.get(key), abs=1e-4)
    for part in ("connector", "llm"):
        name = f"checkpoints/{last.name}/model/{part}.safetensors"
        assert close(load_file(two / name), load_file(tmp_path / "run" / name)) <= 1e-4
    for kept in (tmp_path / "run" / "lengths").iterdir():
        assert (two / "lengths" / kept.name).read_bytes() == kept.read_bytes()
