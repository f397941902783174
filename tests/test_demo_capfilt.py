"""CapFilt's demo: data as noisy as it says, and commands that isthmus knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from isthmus.core.config import load
from isthmus.core.train.config import RunConfig
from tests.demo_scripts import imported


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """CapFilt's script, whose data is small here, and what it holds to be true."""
    with imported("capfilt", "truth") as demo:
        monkeypatch.setattr(demo.capfilt, "NOISY", 60)
        monkeypatch.setattr(demo.capfilt, "HELD_OUT", 5)
        yield demo


def test_half_of_the_captions_are_another_scenes(demo: SimpleNamespace, tmp_path: Path):
    demo.capfilt.write(tmp_path, seed=0)
    truth = json.loads((tmp_path / "truth.json").read_text())
    for name, wrong in (("noisy", 30), ("test_captions", 0)):
        rows = json.loads((tmp_path / f"{name}.json").read_text())
        said = [demo.truth.said_in(row["conversations"][1]["value"]) for row in rows]
        right = [truth[row["image"]] == each for row, each in zip(rows, said, strict=True)]
        assert len(right) - sum(right) == wrong
        assert all((tmp_path / "images" / row["image"]).is_file() for row in rows)
    assert len(truth) == 65


def test_a_caption_says_the_same_in_any_order_of_words(demo: SimpleNamespace):
    one, other = "northwest 5 red, southeast 0 blue", "0 blue southeast, 5 northwest red"
    assert demo.truth.said_in(one) == demo.truth.said_in(other)
    assert demo.truth.said_in(one) != demo.truth.said_in(one.replace("5", "6"))


def test_a_caption_is_nearly_right_when_it_is_wrong_about_one_thing(demo: SimpleNamespace):
    truth = demo.truth.said_in("northwest 5 red, southeast 0 blue")
    for said, near in (
        ("0 blue southeast, 5 northwest red", False),  # right
        ("0 blue southeast, 6 northwest red", True),
        ("0 blue southeast", False),
        ("5 blue southeast, 0 northwest red", False),
    ):
        assert demo.truth.nearly(said, truth) == near


def test_both_models_differ_in_nothing_but_captions(demo: SimpleNamespace, tmp_path: Path):
    runs = []
    for name in demo.capfilt.SETS:
        command = demo.capfilt.from_nothing(tmp_path, name).command
        changes = [b for a, b in pairwise(command) if a == "--set"]
        runs.append(load(RunConfig, command[command.index("train") + 1], changes))
    noisy, filtered = (run.model_dump(exclude={"stages"}) for run in runs)
    assert noisy == filtered
    for mine, theirs in zip(runs[0].stages, runs[1].stages, strict=True):
        assert mine.model_dump(exclude={"data"}) == theirs.model_dump(exclude={"data"})
        assert mine.data[0].file != theirs.data[0].file  # type: ignore[attr-defined]


def test_what_was_kept_is_held_against_the_pictures(demo: SimpleNamespace, tmp_path: Path):
    for folder in ("data", "filtered", "from-noisy", "from-filtered"):
        (tmp_path / folder).mkdir()
    truth = {f"{n}.png": demo.truth.said_in(f"northwest {n} red") for n in range(4)}
    (tmp_path / "data" / "truth.json").write_text(json.dumps(truth))
    kept = [(0, "web", 0), (1, "web", 3), (2, "synthetic", 2)]
    left = [(2, "web", 3, "mismatch"), (3, "web", 1, "mismatch"), (1, "synthetic", 2, "mismatch")]
    left += [(0, "synthetic", 0, "duplicate")]
    rows = [
        {
            "image": f"{picture}.png",
            "kind": kind,
            "conversations": [{}, {"value": f"{said} northwest red"}],
        }
        for picture, kind, said in kept
    ]
    (tmp_path / "filtered" / "samples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rows = [
        {
            "image": f"{picture}.png",
            "kind": kind,
            "reason": reason,
            "text": f"red northwest {said}",
        }
        for picture, kind, said, reason in left
    ]
    (tmp_path / "filtered" / "rejected.jsonl").write_text("\n".join(map(json.dumps, rows)))
    names = ("loss", *demo.capfilt.SHOWN)
    early, last = ({f"val_{name}": value for name in names} for value in (0.5, 0.25))
    for name in demo.capfilt.SETS:
        lines = "\n".join(map(json.dumps, (early, {"loss": 1.0}, last)))
        (tmp_path / f"from-{name}" / "metrics.jsonl").write_text(lines)
    found = demo.capfilt.kept(tmp_path)
    assert found["right_kept"] == 1
    assert found["wrong_rejected"] == pytest.approx(2 / 3)
    assert found["written_right"] == 0.5
    assert found["written_words_right"] == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert found["written_right_among_kept"] == 1
    assert found["wrong_by_one"] == 0
    assert found["kept"] == 3
    assert demo.capfilt.learnt(tmp_path)["noisy"]["caption_loss"] == 0.25
