"""Published weights that nothing changed are referenced, and held to their hash."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from isthmus.core import checkpoint
from isthmus.core.checkpoint import weights_hash
from isthmus.core.config import validate_part
from isthmus.errors import CheckpointError
from tests.core.checkpoint.sameness import RUN, Build, same


def test_an_unchanged_part_from_a_folder_is_referenced(
    tmp_path: Path, build: Build, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = build(encoder={"type": "clip", "model": "./clip"})
    hashes = {name: weights_hash(part) for name, part in model.parts().items()}
    folder = checkpoint.save(tmp_path / "run" / "01-a-1", model, RUN, unchanged=hashes)
    assert not (folder / "model" / "encoder.safetensors").exists()
    assert (folder / "model" / "llm.safetensors").exists()
    monkeypatch.chdir(folder)
    opened = checkpoint.load(folder)
    assert opened.unchanged == {"encoder": hashes["encoder"]}
    loaded = opened.model()
    assert same(model, loaded)
    again = checkpoint.save(tmp_path / "run" / "01-a-2", loaded, RUN, unchanged=opened.unchanged)
    assert same(model, checkpoint.load(again).model())


def test_a_part_of_whose_weights_some_were_drawn_is_copied(tmp_path: Path, build: Build) -> None:
    """BERT has no queries: its folder alone would not give them back."""
    from transformers import BertConfig, BertModel

    shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    bert = BertModel(BertConfig(**shape, intermediate_size=8, vocab_size=300))
    bert.save_pretrained(tmp_path / "bert")
    model = build(connector={"type": "qformer", "model": str(tmp_path / "bert"), "queries": 3})
    unchanged = {"connector": weights_hash(model.connector)}
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN, unchanged=unchanged)
    (tmp_path / "bert").rename(tmp_path / "elsewhere")
    assert same(model, checkpoint.load(folder).model())


def test_a_reference_that_changed_is_refused(
    tmp_path: Path, build: Build, clip_folder: Path
) -> None:
    model = build(encoder={"type": "clip", "model": str(clip_folder)})
    unchanged = {"encoder": weights_hash(model.encoder)}
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN, unchanged=unchanged)
    file = clip_folder / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("layers.0.mlp.fc1.weight"))
    tensors[name][0, 0] += 1e-3
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"encoder is referenced.*{clip_folder}.*sha256"):
        checkpoint.load(folder).model()


def test_a_reference_that_is_gone_names_itself(
    tmp_path: Path, build: Build, clip_folder: Path
) -> None:
    model = build(encoder={"type": "clip", "model": str(clip_folder)})
    unchanged = {"encoder": weights_hash(model.encoder)}
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN, unchanged=unchanged)
    clip_folder.rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=rf"refers to encoder from {clip_folder}"):
        checkpoint.load(folder).model()


def test_a_changed_part_is_copied_and_needs_its_folder_no_more(
    tmp_path: Path, build: Build, clip_folder: Path
) -> None:
    model = build(encoder={"type": "clip", "model": str(clip_folder)})
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN)
    clip_folder.rename(tmp_path / "elsewhere")
    assert same(model, checkpoint.load(folder).model())


def test_weights_that_a_tuner_added_come_back(tmp_path: Path, build: Build) -> None:
    model = build()
    lora = validate_part("tuner", {"type": "lora", "r": 2, "hand_over": "keep"})
    lora.build().apply(model.llm)
    torch.manual_seed(1)
    for parameter in model.llm.parameters():
        parameter.data = torch.randn_like(parameter)
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN, tuners={"llm": [lora]})
    opened = checkpoint.load(folder)
    assert opened.tuners == {"llm": (lora,)}
    assert same(model, opened.model())


def test_published_weights_with_additions_are_referenced_and_the_additions_copied(
    tmp_path: Path, build: Build, clip_folder: Path
) -> None:
    model = build(encoder={"type": "clip", "model": str(clip_folder)})
    unchanged = {"encoder": weights_hash(model.encoder)}
    lora = validate_part("tuner", {"type": "lora", "r": 2, "hand_over": "keep"})
    lora.build().apply(model.encoder)
    for name, parameter in model.encoder.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter)
    settings = {"unchanged": unchanged, "tuners": {"encoder": [lora]}}
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN, **settings)
    copied = load_file(folder / "model" / "encoder.safetensors")
    assert copied
    assert all("lora_" in name for name in copied)
    opened = checkpoint.load(folder)
    loaded = opened.model()
    assert same(model, loaded)
    again = checkpoint.save(
        tmp_path / "01-a-2", loaded, RUN, unchanged=opened.unchanged, tuners=opened.tuners
    )
    assert same(model, checkpoint.load(again).model())


def test_an_unchanged_part_from_a_file_is_referenced_by_its_full_path(
    tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
    vit = {"type": "timm", "model": "vit_tiny_patch16_224", "options": options}
    drawn = build(encoder=vit | {"weights": None, "layer": -1}).encoder
    kept = {name: tensor.clone() for name, tensor in drawn.model.state_dict().items()}
    save_file(kept, tmp_path / "vit.safetensors")
    monkeypatch.chdir(tmp_path)
    model = build(encoder=vit | {"weights": "vit.safetensors", "layer": -1})
    hashes = {"encoder": weights_hash(model.encoder)}
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN, unchanged=hashes)
    monkeypatch.chdir("/")
    assert same(model, checkpoint.load(folder).model())
