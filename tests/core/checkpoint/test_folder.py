"""Folders of checkpoints: order, fallback, leftovers, pruning, replacement."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.core.checkpoint.folder import (
    checkpoint_name,
    find,
    latest,
    prune,
    publish,
    tidy,
)
from isthmus.core.checkpoint.manifest import Manifest, PartEntry, verify
from isthmus.errors import CheckpointError


def put(parent: Path, name: str, text: str = "weights") -> Path:
    folder = parent / name
    with publish(folder) as temporary:
        (temporary / "model").mkdir()
        (temporary / "model" / "llm.safetensors").write_text(text)
        parts = {"llm": PartEntry(file="model/llm.safetensors", tuners=({"type": "lora"},))}
        listing = Manifest.of(temporary, "1.0", parts, {})
        (temporary / "manifest.json").write_text(listing.to_json())
    return folder


def damage(folder: Path) -> None:
    (folder / "model" / "llm.safetensors").write_text("weighty")


def names(parent: Path) -> list[str]:
    return sorted(path.name for path in parent.iterdir())


def test_name_says_stage_and_step() -> None:
    assert checkpoint_name(0, "align", 2180) == "01-align-002180"


def test_newest_is_by_stage_then_step_as_numbers(tmp_path: Path) -> None:
    run = tmp_path / "run"
    order = ["01-align-000900", "01-align-1000000", "02-a-1-000003", "10-z-000001"]
    for done, name in enumerate(reversed(order)):
        put(run / "checkpoints", name)
        assert latest(run).name == order[-1], done
    assert find(run).skipped == ()


def test_a_checkpoint_folder_is_its_own_newest(tmp_path: Path) -> None:
    old = put(tmp_path, "01-align-000001")
    put(tmp_path, "01-align-000002")
    assert latest(old) == old
    assert latest(tmp_path).name == "01-align-000002"


def test_damaged_ones_are_skipped_and_named(tmp_path: Path) -> None:
    put(tmp_path, "01-align-000001")
    damage(put(tmp_path, "01-align-000002"))
    (put(tmp_path, "01-align-000003") / "manifest.json").unlink()
    found = find(tmp_path)
    assert found.folder.name == "01-align-000001"
    missing, changed = found.skipped
    assert "01-align-000003: no checkpoint, manifest.json is missing" in missing
    assert "01-align-000002: damaged: model/llm.safetensors has changed" in changed


def test_a_damaged_checkpoint_folder_has_no_fallback(tmp_path: Path) -> None:
    put(tmp_path, "01-align-000001")
    newer = put(tmp_path, "01-align-000002")
    damage(newer)
    with pytest.raises(CheckpointError, match="has changed"):
        find(newer)


def test_nothing_whole_is_an_error_that_lists_what_was_seen(tmp_path: Path) -> None:
    damage(put(tmp_path, "01-align-000001"))
    with pytest.raises(CheckpointError, match=r"no checkpoint in it is whole\n.*000001"):
        find(tmp_path)


def test_no_folder_and_no_checkpoint_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        find(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no checkpoint in it"):
        find(tmp_path)


def test_every_byte_of_a_checkpoint_counts(tmp_path: Path) -> None:
    folder = put(tmp_path, "01-align-000001")
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        good = path.read_bytes()
        for position in range(len(good)):
            path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
            with pytest.raises(CheckpointError):
                verify(folder)
        for length in (0, len(good) - 1):
            path.write_bytes(good[:length])
            with pytest.raises(CheckpointError):
                verify(folder)
        path.unlink()
        with pytest.raises(CheckpointError, match="missing"):
            verify(folder)
        path.write_bytes(good)
    assert verify(folder).parts["llm"].tuners == ({"type": "lora"},)


def test_a_newer_layout_is_no_damage(tmp_path: Path) -> None:
    folder = put(tmp_path, "01-align-000001")
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(CheckpointError, match="newer isthmus"):
        verify(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"schema": 1}', "\udcff"])
def test_a_manifest_that_is_something_else_is_damage(text: str, tmp_path: Path) -> None:
    folder = put(tmp_path, "01-align-000001")
    (folder / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"manifest\.json: damaged"):
        verify(folder)


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    folder = put(tmp_path, "01-align-000001")
    listing = Manifest.read(folder)
    entry = next(iter(listing.files.values()))
    (folder / "manifest.json").write_text(
        Manifest("1.0", {"../secret": entry, "/etc/passwd": entry}, {}, {}).to_json()
    )
    with pytest.raises(CheckpointError, match=r"'\.\./secret' is outside.*'/etc/passwd' is out"):
        verify(folder)


def test_an_interrupted_save_leaves_what_was_there(tmp_path: Path) -> None:
    folder = put(tmp_path, "01-align-000001", "first")

    def interrupted() -> None:
        with publish(folder) as temporary:
            (temporary / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == ["01-align-000001"]
    assert (folder / "model" / "llm.safetensors").read_text() == "first"


def test_saving_again_under_a_name_replaces_it(tmp_path: Path) -> None:
    put(tmp_path, "01-align-000001", "first")
    folder = put(tmp_path, "01-align-000001", "second")
    verify(folder)
    assert (folder / "model" / "llm.safetensors").read_text() == "second"
    assert names(tmp_path) == ["01-align-000001"]


def test_a_replacement_killed_halfway_loses_nothing(tmp_path: Path) -> None:
    put(tmp_path, "01-align-000001")
    put(tmp_path, "01-align-000002").rename(tmp_path / ".01-align-000002.old-1a2b3c4d")
    (tmp_path / ".01-align-000002.tmp-1a2b3c4d").mkdir()
    assert latest(tmp_path).name == ".01-align-000002.old-1a2b3c4d"
    tidy(tmp_path)
    assert names(tmp_path) == ["01-align-000001", "01-align-000002"]
    assert latest(tmp_path).name == "01-align-000002"


def test_pruning_keeps_the_newest_and_the_last_of_every_stage(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        put(tmp_path, checkpoint_name(0, "align", step))
    for step in (1, 2, 3, 4):
        put(tmp_path, checkpoint_name(1, "instruct", step))
    (tmp_path / "notes.txt").write_text("mine")
    removed = prune(tmp_path, keep=2)
    assert names(tmp_path) == [
        "01-align-000003",
        "02-instruct-000003",
        "02-instruct-000004",
        "notes.txt",
    ]
    assert len(removed) == 4


def test_pruning_counts_whole_ones_alone(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        put(tmp_path, checkpoint_name(0, "align", step))
    (tmp_path / "01-align-000003" / "model" / "llm.safetensors").unlink()
    prune(tmp_path, keep=1)
    assert names(tmp_path) == ["01-align-000002", "01-align-000003"]


def test_pruning_counts_nothing_newer_than_what_was_just_saved(tmp_path: Path) -> None:
    put(tmp_path, "01-align-000004")
    damage(put(tmp_path, "01-align-000006"))  # of its old size, so that only a hash shows it
    put(tmp_path, "02-instruct-000001", "weighty")
    saved = put(tmp_path, "01-align-000005")
    prune(tmp_path, keep=1, saved=saved)
    assert names(tmp_path) == ["01-align-000005", "01-align-000006", "02-instruct-000001"]
