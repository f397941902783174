"""Features on disk: what comes back, what several processes see, torn files, a full folder."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from isthmus.core.data import feature_store
from isthmus.core.data.feature_store import DiskFeatures
from isthmus.errors import InputError

GIB = 2**30


def store(folder: Path, space: str = "clip", max_bytes: int = GIB) -> DiskFeatures:
    return DiskFeatures(folder, space, max_bytes)


def features(seed: int, rows: int = 4, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed)).to(dtype)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.integers(0, 2),
            st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 5), max_size=4),
        ),
        st.tuples(st.just("flush"), st.integers(0, 2), st.none()),
        st.tuples(st.just("copy"), st.integers(0, 2), st.none()),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(steps, st.sampled_from((torch.float32, torch.bfloat16)))
def test_what_was_kept_comes_back_in_its_bits_whoever_wrote_it(steps, dtype):
    with tempfile.TemporaryDirectory() as folder:
        stores = [store(Path(folder)) for _ in range(3)]
        own: list[dict[str, torch.Tensor]] = [{}, {}, {}]
        written: dict[str, list[torch.Tensor]] = {}
        for what, who, sizes in steps:
            if what == "put":
                given = {k: features(ord(k) + 7 * n + who, n, dtype) for k, n in sizes.items()}
                given = {k: v for k, v in given.items() if stores[who].get(k) is None}
                stores[who].put(given)
                own[who] |= given
            elif what == "flush":
                stores[who].flush()
                for key, values in own[who].items():
                    written.setdefault(key, []).append(values)
            else:
                stores[who] = pickle.loads(pickle.dumps(stores[who]))
                own[who] = {}
            for reader, waiting in zip(stores, own, strict=True):
                for key in "abcdef":
                    found = reader.get(key)
                    possible = [*written.get(key, []), *([waiting[key]] if key in waiting else [])]
                    assert (found is None) == (not possible)
                    assert found is None or any(_same(found, values) for values in possible)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def test_spaces_of_one_folder_know_nothing_of_each_other(tmp_path):
    one, other = store(tmp_path, "clip"), store(tmp_path, "siglip")
    one.put({"a": features(1)})
    one.flush()
    assert other.get("a") is None


def test_a_feature_that_is_read_does_not_drag_its_shard_along(tmp_path):
    kept = store(tmp_path)
    kept.put({str(number): features(number) for number in range(20)})
    kept.flush()
    found = kept.get("7")
    assert found.untyped_storage().nbytes() == found.nbytes


def test_shards_come_by_themselves_and_stay_few(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_store, "SMALLEST", 480)
    kept, other = store(tmp_path), store(tmp_path)
    for number in range(400):
        kept.put({str(number): features(number)})
        if number == 9:
            assert torch.equal(other.get("0"), features(0))
    # 400 features of 48 bytes; a shard holds ten, later a quarter of all before it.
    assert len(files(tmp_path)) <= 20
    assert kept.added >= 300


@pytest.mark.parametrize("left", [0, 5, 100, -1])
def test_a_torn_shard_is_passed_over_and_made_again(tmp_path, left):
    kept = store(tmp_path)
    kept.put({"a": features(1)})
    kept.flush()
    (shard,) = files(tmp_path)
    shard.write_bytes(shard.read_bytes()[:left])
    after = store(tmp_path)
    assert after.get("a") is None
    after.put({"a": features(1)})
    after.flush()
    assert torch.equal(store(tmp_path).get("a"), features(1))


def test_what_a_killed_process_left_half_written_is_not_read_and_goes_in_time(tmp_path):
    store(tmp_path)
    fresh, old = tmp_path / "clip" / "1.part", tmp_path / "clip" / "2.part"
    for path in (fresh, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert store(tmp_path).get("a") is None
    assert files(tmp_path) == [fresh]


def test_a_full_folder_is_only_read_and_says_so(tmp_path):
    kept = store(tmp_path, max_bytes=1000)
    for number in range(20):
        kept.put({str(number): features(number)})
        kept.flush()
        assert sum(path.stat().st_size for path in files(tmp_path)) <= 1000
    held = [number for number in range(20) if kept.get(str(number)) is not None]
    assert 0 < len(held) == kept.added < 20
    assert f"{tmp_path} is full" in kept.stopped
    assert "max_gib" in kept.stopped
    later = store(tmp_path, max_bytes=500)
    assert "is full" in later.stopped
    assert torch.equal(later.get("0"), features(0))


def test_other_encoders_features_count_against_the_limit(tmp_path):
    first = store(tmp_path, "clip")
    first.put({"a": features(1, rows=100)})
    first.flush()
    assert store(tmp_path, "siglip", max_bytes=1000).stopped


def test_a_full_disk_ends_the_adding_but_not_the_run(tmp_path, monkeypatch):
    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:7])
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = store(tmp_path)
    monkeypatch.setattr(feature_store, "_write", full)
    kept.put({"a": features(1)})
    kept.flush()
    assert "No space left on device" in kept.stopped
    assert files(tmp_path) == []
    kept.put({"b": features(2)})
    assert kept.get("b") is None


def test_a_folder_that_is_deleted_meanwhile_ends_the_adding_but_not_the_run(tmp_path):
    kept = store(tmp_path)
    kept.put({"a": features(1)})
    kept.flush()
    for path in [*files(tmp_path), tmp_path / "clip"]:
        path.rmdir() if path.is_dir() else path.unlink()
    assert torch.equal(kept.get("a"), features(1))
    assert kept.get("b") is None
    kept.put({"b": features(2)})
    kept.flush()
    assert "No such file" in kept.stopped


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"features\.cache: .*file.* cannot be written"):
        store(tmp_path / "file")


WRITER = """
import sys, torch
from pathlib import Path
from isthmus.core.data import feature_store
from isthmus.core.data.feature_store import DiskFeatures
feature_store.SMALLEST = 2000
who, folder = int(sys.argv[1]), Path(sys.argv[2])
store = DiskFeatures(folder, "clip", 2**30)
for number in range(400):
    key = str(number if who else 399 - number)
    found = store.get(key)
    if found is None:
        store.put({key: torch.full((4, 3), float(key))})
    else:
        assert torch.equal(found, torch.full((4, 3), float(key)))
store.flush()
"""


def test_two_processes_write_and_read_at_once(tmp_path):
    run = [sys.executable, "-c", WRITER]
    both = [
        subprocess.Popen([*run, str(who), str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for who in range(2)
    ]
    for process in both:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    assert {path.suffix for path in files(tmp_path)} == {".safetensors"}
    kept = store(tmp_path)
    for number in range(400):
        assert torch.equal(kept.get(str(number)), torch.full((4, 3), float(number)))
    # Each found some of what the other wrote, or both would have written everything.
    assert sum(len(load_file(path)) for path in files(tmp_path)) < 800
