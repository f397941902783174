"""A checkpoint gives back the model it was made of, or says why it cannot."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from isthmus.core import checkpoint
from isthmus.core.checkpoint import TrainerState, weights_hash
from isthmus.core.contracts import Segments
from isthmus.errors import CheckpointError
from tests.core.checkpoint.conftest import LLAMA
from tests.core.checkpoint.sameness import RUN, Build, same


def test_a_model_comes_back_bit_for_bit_with_its_tokenizer(tmp_path: Path, build: Build) -> None:
    model = build(seed=3)
    folder = checkpoint.save(tmp_path / "01-align-000001", model, RUN)
    opened = checkpoint.load(folder)
    loaded = opened.model()
    assert same(model, loaded)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert opened.run == RUN
    text = "a cat caf\u00e9 </s>"
    assert loaded.llm.tokenizer(text).input_ids == model.llm.tokenizer(text).input_ids
    ids = torch.tensor(model.llm.tokenizer(text).input_ids)
    segments = Segments((len(ids),))
    expected = model.eval().llm(model.llm.embed(ids), segments)
    assert torch.equal(loaded.llm(loaded.llm.embed(ids), segments), expected)


def test_a_connector_that_reads_comes_back_with_a_tokenizer_of_its_own(
    tmp_path: Path, build: Build
) -> None:
    reads = {"type": "qformer", "dim": 8, "layers": 2, "heads": 2, "hidden": 8, "queries": 3}
    model = build(connector=reads | {"text": "instruction", "tokenizer": {"vocab_size": 270}})
    folder = checkpoint.save(tmp_path / "01-align-000001", model, RUN)
    loaded = checkpoint.load(folder).model()
    assert same(model, loaded)
    assert len(loaded.connector.tokenizer) == 270 < len(loaded.llm.tokenizer)
    for text in ("a cat on a mat", "what is in the picture?"):
        for part in ("connector", "llm"):
            before, after = (m.parts()[part].tokenizer for m in (model, loaded))
            assert after(text).input_ids == before(text).input_ids
    assert loaded.connector.tokenizer.model_max_length == 512


@pytest.mark.parametrize("name", ["llama2", "mistral_v1", "gpt2"])
def test_a_real_tokenizer_comes_back_to_the_id(
    name: str, tmp_path: Path, build: Build, data_folder: Path
) -> None:
    tokenizer = str(data_folder / "tokenizers" / name)
    model = build(llm={"type": "causal", "config": LLAMA, "tokenizer": tokenizer})
    before = model.llm.tokenizer
    loaded = checkpoint.load(checkpoint.save(tmp_path / "01-a-1", model, RUN)).model()
    after = loaded.llm.tokenizer
    texts = [
        "",
        " ",
        "  lead",
        "tail  ",
        "a\n\n\tb",
        "caf\u00e9 \U0001f468\u200d\U0001f469",
        "</s><s>",
    ]
    for text in [*texts, "USER: What? ASSISTANT: A cat.</s>", "<image>\nDon't"]:
        for special in (True, False):
            expected = before(text, add_special_tokens=special).input_ids
            assert after(text, add_special_tokens=special).input_ids == expected
            assert after.decode(expected) == before.decode(expected)
    assert len(after) == len(before)
    assert after.all_special_tokens == before.all_special_tokens
    assert after.chat_template == before.chat_template


def test_the_folder_holds_what_is_promised_and_no_pickle(tmp_path: Path, build: Build) -> None:
    state = TrainerState("align", 0, 1, data={"epoch": 0}, fingerprints={"a.json": "f"})
    folder = checkpoint.save(
        tmp_path / "run" / "checkpoints" / "01-align-000001",
        build(),
        {"template": "plain", "lr": 1e-5, "word": "1e-5"},
        trainer=state,
        optimizer={"connector.w/exp_avg": torch.ones(2)},
        objective={"temperature": torch.ones(())},
    )
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "manifest.json",
        "model.yaml",
        "model/connector.safetensors",
        "model/encoder.safetensors",
        "model/llm.safetensors",
        "objective.safetensors",
        "optimizer.safetensors",
        "run.yaml",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
        "trainer.json",
    }
    opened = checkpoint.load(tmp_path / "run")
    assert opened.folder == folder
    assert opened.trainer is not None
    assert (opened.trainer.data, opened.trainer.fingerprints) == ({"epoch": 0}, {"a.json": "f"})
    assert opened.trainer.versions["torch"] == torch.__version__
    assert "isthmus" in opened.trainer.plugins
    assert torch.equal(opened.optimizer()["connector.w/exp_avg"], torch.ones(2))
    assert torch.equal(opened.objective()["temperature"], torch.ones(()))
    listed = json.loads((folder / "manifest.json").read_text())
    assert set(listed["files"]) == files - {"manifest.json"}


def test_saving_twice_gives_equal_bytes(tmp_path: Path, build: Build) -> None:
    model = build()
    first, second = (checkpoint.save(tmp_path / f"01-a-{i}", model, RUN) for i in (1, 2))
    for path in first.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_loading_draws_no_number_and_gives_the_model_that_drawing_gave(
    tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint.save(tmp_path / "01-a-1", build(seed=4), RUN)
    quick = checkpoint.load(folder).model()
    monkeypatch.setattr("isthmus.core.checkpoint.loading.Placeholders", nullcontext)
    slow = checkpoint.load(folder).model()
    assert same(quick, slow)
    for part, module in slow.parts().items():
        ours = dict(quick.parts()[part].named_buffers())
        theirs = dict(module.named_buffers())  # those that no file holds, too
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (quick.llm.ragged, quick.llm.decodes) == (slow.llm.ragged, slow.llm.decodes)
    assert quick.llm.hands_down == slow.llm.hands_down


def test_a_part_in_another_precision_keeps_it(tmp_path: Path, build: Build) -> None:
    model = build()
    model.encoder.to(torch.bfloat16)
    assert same(model, checkpoint.load(checkpoint.save(tmp_path / "01-a-1", model, RUN)).model())


def test_only_some_parts_can_be_built(tmp_path: Path, build: Build) -> None:
    model = build()
    opened = checkpoint.load(checkpoint.save(tmp_path / "01-a-1", model, RUN))
    loaded = opened.model(only={"encoder"})
    assert set(loaded.parts()) == {"encoder"}
    assert weights_hash(loaded.encoder) == weights_hash(model.encoder)


def test_a_connector_without_weights_needs_no_file(tmp_path: Path, build: Build) -> None:
    model = build(connector={"type": "identity"})
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN)
    assert not (folder / "model" / "connector.safetensors").exists()
    assert same(model, checkpoint.load(folder).model())


def test_missing_and_unexpected_weights_are_errors(tmp_path: Path, build: Build) -> None:
    model = build()
    states = {"connector": dict(model.connector.state_dict())}
    name, tensor = states["connector"].popitem()
    states["connector"][name + "_x"] = tensor
    folder = checkpoint.save(tmp_path / "01-a-1", model, RUN, states=states)
    with pytest.raises(CheckpointError, match=rf"missing: {name}; unexpected: {name}_x"):
        checkpoint.load(folder).model()


def test_a_finished_stage_keeps_its_last_checkpoint_alone(tmp_path: Path, build: Build) -> None:
    model = build()
    for step in (1, 2, 3):
        state = TrainerState("a", 0, step, finished=step == 3)
        checkpoint.save(tmp_path / f"01-a-{step}", model, RUN, trainer=state, keep=2)
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left == {1: ["01-a-1"], 2: ["01-a-1", "01-a-2"], 3: ["01-a-3"]}[step]
