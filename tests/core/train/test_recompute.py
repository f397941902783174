"""Layers computed twice, or compiled: the same numbers, and as few of them as memory asks for."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from isthmus.core.contracts import Pack
from isthmus.core.model.layers import Layers
from isthmus.core.train.engine import Root
from isthmus.core.train.parallel import Parallel
from isthmus.core.train.recompute import Recompute, again, least
from tests.core.train.step_gradients import setting
from tests.core.train.tiny import write_data

TUNERS = {"encoder": "full", "connector": "full", "llm": {"type": "lora", "dropout": 0.5}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recompute")
    write_data(folder, 4, text_only=2)
    return folder


def model(data: Path) -> tuple[Root, list[Pack]]:
    """A model in which all kinds of layers learn, and two packs of unequal samples."""
    root, mixture, preparer = setting(data, TUNERS)
    samples = [preparer.prepare(mixture[number]) for number in range(6)]
    return root.train(), [preparer.collate(samples[:1]), preparer.collate(samples[1:])]


def gradients(root: Root, packs: list[Pack]) -> dict[str, Tensor]:
    """Both packs go forward before either goes back."""
    torch.manual_seed(7)  # dropout
    root.zero_grad()
    losses = [root(pack)[0] for pack in packs]
    for loss in losses:
        loss.backward()
    found = {n: p.grad.clone() for n, p in root.named_parameters() if p.grad is not None}
    return found | {"loss": torch.stack(losses).detach()}


@pytest.mark.parametrize("level", ["none", "selective", "full"])
def test_computing_layers_twice_changes_no_bit_of_the_gradient(data: Path, level: Any):
    root, packs = model(data)
    wanted = gradients(root, packs)
    forwards = [vars(module).get("forward") for module in root.modules()]
    layers = Layers(root.model)
    assert [len(group) for group in layers.groups] == [1, 2]  # the encoder is cut at its layer
    runs: Counter[int] = Counter()
    for group in layers.groups:
        for layer in group:
            inner = next(m for n, m in layer.named_modules() if n.startswith("mlp"))
            inner.register_forward_pre_hook(lambda module, _: runs.update([id(module)]))
    Recompute(layers, level, Parallel())
    found = gradients(root, packs)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    # Two packs; what is computed again runs twice for each.
    assert (
        sorted(runs.values())
        == {"none": [2, 2, 2], "selective": [2, 2, 4], "full": [4, 4, 4]}[level]
    )
    layers.restore()
    assert [vars(module).get("forward") for module in root.modules()] == forwards


def test_nothing_is_computed_twice_where_no_gradient_is_asked_for(data: Path):
    root, packs = model(data)
    layer = root.model.llm.decoder_layers[0]
    runs: list[int] = []
    layer.mlp.register_forward_pre_hook(lambda *_: runs.append(1))
    Recompute(Layers(root.model), "full", Parallel())
    with torch.no_grad():
        root(packs[0])
    assert len(runs) == 1


def test_auto_keeps_everything_on_a_cpu(data: Path):
    chosen = Recompute(Layers(model(data)[0].model), "auto", Parallel())
    assert (chosen.level, chosen.probe) == ("none", None)


def test_least_recomputing_that_fits_by_hand():
    # 30 layers at 2 GB and 10 at 1 GB; one of each kind is kept in the peak of 20 GB.
    groups = [(30, 2), (10, 1)]
    assert least(20, groups, 20 + 29 * 2 + 9 * 1) == "none"
    assert least(20, groups, 20 + 29 * 2 + 9 * 1 - 1) == "selective"
    assert least(20, groups, 20 + 14 * 2 + 4 * 1) == "selective"
    assert least(20, groups, 20 + 14 * 2 + 4 * 1 - 1) == "full"
    assert [len(again(level, 5)) for level in ("none", "selective", "full")] == [0, 2, 5]


@pytest.mark.parametrize(("size", "level"), [(10_000, "none"), (400, "full")])
def test_auto_measures_the_first_step(data: Path, size: int, level: str):
    class Pretended:
        """Memory in which a layer's MLP takes 100 bytes, unless it is computed twice."""

        def __init__(self, device: torch.device) -> None:
            self.taken = 50

        def used(self) -> int:
            return self.taken

        def peak(self) -> int:
            return self.taken + 200

        def size(self) -> int:
            return size

    root, packs = model(data)
    layers = Layers(root.model)
    chosen = Recompute(layers, "auto", Parallel(), Pretended)  # type: ignore[arg-type]
    assert chosen.probe is not None
    memory: Any = chosen.probe.memory
    for group in layers.groups:
        # The one that the probe lets keep its activations is the first.
        group[0].mlp.register_forward_hook(lambda *_: setattr(memory, "taken", memory.taken + 100))
    wanted = gradients(root, packs)
    chosen.backward_done()
    memory.taken = 70
    kept = {layer: taken for layer, taken in chosen.probe.kept.items() if taken}
    assert kept == {group[0]: 100 for group in layers.groups}
    chosen.step_done()
    assert (chosen.level, chosen.probe) == (level, None)
    assert all(map(torch.equal, wanted.values(), gradients(root, packs).values()))


@pytest.mark.slow
# torch's compiler looks at gradients that it says nobody should look at.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compiled_layers_give_what_eager_ones_give(data: Path, monkeypatch: pytest.MonkeyPatch):
    # All of torch's compiler but its last step, the C++ compiler.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    root, packs = model(data)
    wanted = gradients(root.eval(), packs)  # torch draws other dropout in compiled code
    layers = Layers(root.model)
    layers.compile()
    Recompute(layers, "selective", Parallel())
    found = gradients(root, packs)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)
