"""Plans of stages: samples measured once for a run, by everyone, and packs the same for all."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file

from isthmus.core.config import load
from isthmus.core.contracts import Segments
from isthmus.core.data.packed import PackedPlan
from isthmus.core.data.plan import Plan
from isthmus.core.data.preparers import PackPreparer
from isthmus.core.data.sizes import Sizes
from isthmus.core.model.build import build_model
from isthmus.core.train.config import RunConfig
from isthmus.core.train.filling import filling, filling_metrics
from isthmus.core.train.measuring import LENGTHS, stage_sizes
from isthmus.core.train.opening import OpenStage, open_stages, texts
from isthmus.core.train.parallel import Outcome, Parallel
from isthmus.core.train.plans import make_plan, sample_cost
from isthmus.core.train.run import run
from isthmus.errors import DataError, ImageError, InputError
from tests.core.train.listeners import Crash, Recorder, crash_at, metrics
from tests.core.train.tiny import source, stage, tiny_run, write_data

PACKED = {"tokens": 500, "micro_tokens": 200}


class Second(Parallel):
    """The second of two processes; of the first one's work came `first`."""

    rank, world = 1, 2

    def __init__(self, first: Outcome[Any]) -> None:
        self.first = pickle.loads(pickle.dumps(first))

    def on_main(self, work: Any) -> Any:
        return None

    def gather(self, value: Any) -> list[Any]:
        return [self.first, value]


class TwoInOne(Parallel):
    """One process that is told of two and does the work of both."""

    rank, world = 0, 2

    def __init__(self) -> None:
        """Nobody else is asked."""

    def on_main(self, work: Any) -> Any:
        return work()

    def gather(self, value: Any) -> list[Any]:
        return [value]


def opened(folder: Path, **fields: Any) -> tuple[SimpleNamespace, OpenStage]:
    """A session, as far as plans need one, and its stage."""
    settings = load(RunConfig, tiny_run(folder, stage(folder, **fields)))
    (only,) = open_stages(settings)
    model = build_model(settings.model, texts=lambda: texts([only]), seed=0)
    settings.out.mkdir(exist_ok=True)
    return SimpleNamespace(settings=settings, model=model, parallel=Parallel()), only


def preparer(session: Any, only: OpenStage) -> Any:
    tools = session.model.tools(only.template, only.config.max_length)
    return only.objective.preparer(tools)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of samples whose length was asked for."""
    asked: list[str] = []
    length = PackPreparer.length

    def remembered(self: Any, sample: Any) -> int:
        asked.append(sample.id)
        return length(self, sample)

    monkeypatch.setattr(PackPreparer, "length", remembered)
    return asked


def test_sizes_are_kept_and_found_again_until_something_changes(tmp_path: Path, measured):
    write_data(tmp_path, 3, text_only=2)
    session, only = opened(tmp_path, batch=PACKED)
    sizes = stage_sizes(session, only, preparer(session, only))
    prepared = [preparer(session, only).prepare(only.mixture[i]).num_tokens for i in range(5)]
    assert sizes.tokens == prepared
    assert sizes.images == [1, 1, 1, 0, 0]
    assert len(measured) == 5
    assert stage_sizes(session, only, preparer(session, only)) == sizes
    assert len(measured) == 5
    (kept,) = (session.settings.out / LENGTHS).iterdir()
    assert load_file(kept)["tokens"].tolist() == prepared

    kept.write_bytes(kept.read_bytes()[:-3])
    assert stage_sizes(session, only, preparer(session, only)) == sizes
    assert len(measured) == 10

    shorter, same = opened(tmp_path, batch=PACKED, max_length=20)
    assert max(stage_sizes(shorter, same, preparer(shorter, same)).tokens) == 20
    assert len(list((session.settings.out / LENGTHS).iterdir())) == 2


def test_processes_share_the_measuring_and_each_others_errors(tmp_path: Path, measured):
    write_data(tmp_path, 3, text_only=70)
    session, only = opened(tmp_path, batch=PACKED)
    whole = stage_sizes(session, only, preparer(session, only))
    del measured[:]
    first = Sizes(whole.tokens[:64], whole.images[:64])
    session.parallel = Second(Outcome([first]))
    assert stage_sizes(session, only, preparer(session, only)) == whole
    assert measured == [only.mixture[number].id for number in range(64, 73)]
    session.parallel = Second(Outcome(error=ImageError("record 3: no picture")))
    with pytest.raises(InputError, match="record 3: no picture"):
        stage_sizes(session, only, preparer(session, only))
    assert not list(session.settings.out.rglob("*.tmp"))


def test_plan_is_packed_only_where_step_and_pack_have_sizes(tmp_path: Path, measured):
    write_data(tmp_path, 4, text_only=2)

    def plan(**batch: int) -> Plan | PackedPlan:
        session, only = opened(tmp_path, batch=batch)
        return make_plan(session, only, preparer(session, only))

    assert isinstance(plan(samples=4, micro_tokens=200), Plan)
    assert not measured
    assert isinstance(plan(tokens=500), Plan)
    packed = plan(**PACKED)
    assert isinstance(packed, PackedPlan)
    assert packed.packs == 2
    one = plan(tokens=100, micro_tokens=200)
    assert isinstance(one, PackedPlan)
    assert one.packs == 1


def test_cost_follows_from_the_models_shapes(tmp_path: Path):
    write_data(tmp_path, 2)
    session, _ = opened(tmp_path)
    model = session.model
    for part in model.parts().values():
        part.requires_grad_(False)
    # Llama, two layers: q, k, v, o of 16 x 16, three of 16 x 24, two norms of 16.
    layers = 2 * (4 * 16 * 16 + 3 * 16 * 24 + 2 * 16)
    encoder = sum(parameter.numel() for parameter in model.encoder.parameters())
    frozen = sample_cost(model)
    assert frozen.square == pytest.approx(2 * 16 / layers)
    assert frozen.image == pytest.approx(4 * encoder / layers / 2)
    model.llm.requires_grad_(True)
    assert sample_cost(model).image == pytest.approx(4 * encoder / layers / 3)
    model.encoder.requires_grad_(True)
    assert sample_cost(model).image == pytest.approx(4 * encoder / layers)


def test_packed_run_resumes_to_equal_bytes_without_measuring_again(tmp_path: Path, measured):
    write_data(tmp_path, 9, text_only=4)
    packed = stage(tmp_path, batch=PACKED, steps=None, epochs=2, save_every=2)
    config = tiny_run(tmp_path, packed)
    heard = Recorder()
    whole = run(config, events=heard)
    assert sum(event.samples for event in heard.steps) == 26
    assert len(measured) == 13
    for event in heard.steps:
        packing, packs = event.metrics["packing"], event.metrics["packs"]
        assert packing == pytest.approx(event.tokens / (packs * 200))
        assert event.metrics["padding"] == 0
        assert packs <= 2
    again = config | {"out": str(tmp_path / "again")}
    with pytest.raises(Crash):
        run(again, events=crash_at("align", 3))
    resumed = run(again, resume=True)
    assert len(measured) == 26
    assert metrics(tmp_path / "again") == metrics(tmp_path / "run")
    for file in (whole / "model").iterdir():
        assert (resumed / "model" / file.name).read_bytes() == file.read_bytes()


def test_padding_is_counted_where_packs_cannot_run(tmp_path: Path):
    write_data(tmp_path, 3)
    session, only = opened(tmp_path)
    made = preparer(session, only)
    pack = made.collate([made.prepare(only.mixture[number]) for number in range(3)])
    assert isinstance(pack.segments, Segments)
    lengths = pack.segments.lengths
    assert len(set(lengths)) > 1
    assert filling([pack, pack], session.model.llm) == [2, 0]
    session.model.llm.ragged = False
    wasted = 2 * sum(max(lengths) - length for length in lengths)
    assert filling([pack, pack], session.model.llm) == [2, wasted]
    assert filling_metrics(30, 2, 10, None) == {"padding": 0.25}
    assert filling_metrics(30, 2, 0, 20) == {"padding": 0.0, "packs": 2, "packing": 0.75}


def test_data_that_cannot_be_measured_says_so(tmp_path: Path):
    write_data(tmp_path, 2)
    (tmp_path / "pictures" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png"):
        run(tiny_run(tmp_path, stage(tmp_path, batch=PACKED)))


def stream_of(folder: Path, **fields: Any) -> dict[str, Any]:
    """The records of `write_data`, compressed, as a stream."""
    lines = [json.dumps(record) for record in json.loads((folder / "data.json").read_text())]
    file = folder / "data.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    return source(folder) | {"file": str(file), "stream": True} | fields


@pytest.mark.parametrize("batch", [{"samples": 4, "micro_samples": 3}, PACKED])
def test_stream_is_trained_on_and_gone_on_with_to_equal_bytes(
    tmp_path: Path, batch: dict[str, int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("isthmus.core.train.setup.WINDOW", 8)
    write_data(tmp_path, 9, text_only=4)
    streamed = stage(tmp_path, data=[stream_of(tmp_path)], batch=batch, steps=9, save_every=2)
    config = tiny_run(tmp_path, streamed)
    whole = run(config)
    again = config | {"out": str(tmp_path / "again")}
    with pytest.raises(Crash):
        run(again, events=crash_at("align", 7))
    resumed = run(again, resume=True)
    assert metrics(tmp_path / "again") == metrics(tmp_path / "run")
    for file in (whole / "model").iterdir():
        assert (resumed / "model" / file.name).read_bytes() == file.read_bytes()
    place = json.loads((whole / "trainer.json").read_text())["data"]["place"]
    assert place["reading"] >= 1


def test_stream_where_it_cannot_be_is_refused(tmp_path: Path):
    write_data(tmp_path, 4)
    stream = stream_of(tmp_path)
    for fields, why in (
        ({"data": [stream], "steps": None, "epochs": 1}, "give the stage `steps`"),
        ({"data": [stream, source(tmp_path)]}, "make it the only source"),
        ({"data": [stream | {"weight": 2.0}]}, "leave out `weight`"),
        (
            {"validation": {"data": [stream]}},
            r"validation\.data\[0\]: a stream cannot be validated",
        ),
    ):
        settings = load(RunConfig, tiny_run(tmp_path, stage(tmp_path, **fields)))
        with pytest.raises(DataError, match=why):
            open_stages(settings)


def test_processes_balance_steps_of_samples_by_cost_where_micro_batches_count_tokens(
    tmp_path: Path, measured
):
    write_data(tmp_path, 3, text_only=9)
    session, only = opened(tmp_path, batch={"samples": 6, "micro_tokens": 200})
    alone = make_plan(session, only, preparer(session, only))
    assert not measured
    sizes = stage_sizes(session, only, preparer(session, only))
    session.parallel = TwoInOne()
    shared = make_plan(session, only, preparer(session, only))
    costs = sample_cost(session.model).of(sizes)
    for step in range(2):
        assert shared.numbers(step) == alone.numbers(step)
        loads = [
            sum(costs[n] for group in shared.share(step, rank, 2) for n in group) for rank in (0, 1)
        ]
        assert abs(loads[0] - loads[1]) <= max(costs)
