"""Where a decoder comes from: a folder, the hub or the YAML; and what of these is refused."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from isthmus.core.contracts import Segments
from isthmus.errors import InputError, PartError
from isthmus.plugins.llms.causal import Causal
from isthmus.testing import check_llm
from tests.oracles import relative
from tests.plugins.llms.families import SHAPE
from tests.plugins.llms.originals import TOKENIZER, ids


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published LLaMA of 270 tokens, with its tokenizer of as many."""
    place = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SHAPE, vocab_size=len(TOKENIZER))).save_pretrained(place)
    TOKENIZER.save_pretrained(place)
    return place


def test_published_weights_are_loaded_with_their_tokenizer(folder: Path) -> None:
    llm = Causal.Config(model=str(folder)).build()
    assert llm.config.pretrained == str(folder)
    assert llm.tokenizer("A red dog")["input_ids"] == TOKENIZER("A red dog")["input_ids"]
    theirs = LlamaForCausalLM.from_pretrained(folder).eval()
    text = ids(9)
    wanted = theirs(input_ids=text[None]).logits[0]
    assert relative(llm.eval().head(llm(llm.embed(text), Segments((9,)))), wanted) < 1e-5


def test_new_tokens_begin_as_the_mean_of_the_old_ones(folder: Path) -> None:
    larger = copy.deepcopy(TOKENIZER)
    larger.add_tokens(["<one>", "<two>"])
    llm = Causal.Config(model=str(folder)).build(tokenizer_object=larger)
    old = LlamaForCausalLM.from_pretrained(folder)
    for ours, theirs in (
        (llm.model.get_input_embeddings(), old.get_input_embeddings()),
        (llm.model.get_output_embeddings(), old.get_output_embeddings()),
    ):
        assert ours.weight.shape[0] == len(TOKENIZER) + 2
        assert torch.equal(ours.weight[:-2], theirs.weight)
        assert torch.allclose(ours.weight[-2:], theirs.weight.mean(0).expand(2, -1), atol=1e-6)


def test_the_blueprint_of_published_weights_needs_no_folder(folder: Path) -> None:
    plan = Causal.Config(model=str(folder)).build().blueprint()
    assert plan.pretrained is None
    assert plan.tokenizer is None
    assert plan.config["hidden_size"] == 32
    assert "transformers_version" not in plan.config


def test_it_conforms_when_loaded_from_a_folder(folder: Path) -> None:
    check_llm(Causal.Config(model=str(folder)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "lama"}, "'lama' is no causal family"),
        ({"hidden_size": 32}, "None is no causal family"),
        ({"model_type": "llama", "hiden_size": 32}, "no key 'hiden_size'. Did you mean 'hidden_"),
        ({"model_type": "llama", "num_layers": 2}, "no key 'num_layers'. Did you mean 'num_"),
        ({"model_type": "llama", "hidden_size": "a"}, "expected int"),
        ({"model_type": "llama", **SHAPE, "hidden_size": 30}, "not a multiple"),
        ({"model_type": "llama", **SHAPE, "pad_token_id": 9999}, "[Pp]ad"),
        ({"model_type": "t5"}, "'t5' is no causal family"),
    ],
)
def test_a_wrong_inline_config_is_refused_with_the_key(config: dict, message: str) -> None:
    with pytest.raises(PartError, match=message):
        Causal.Config(config=config).build(tokenizer_object=TOKENIZER)


def test_one_origin_is_needed_and_only_one() -> None:
    for fields in ({}, {"model": "a/b", "config": {"model_type": "llama"}}):
        with pytest.raises(PartError, match="llm causal: give either `model`"):
            Causal.Config(**fields).build(tokenizer_object=TOKENIZER)


def test_folders_that_hold_no_model_are_named(tmp_path: Path, folder: Path) -> None:
    def refused(name: str, message: str) -> None:
        with pytest.raises(InputError, match=message):
            Causal.Config(model=name).build(tokenizer_object=TOKENIZER)

    refused(str(tmp_path / "nowhere"), "there is no folder .*nowhere")
    refused(str(tmp_path), "has no config.json")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    refused(str(tmp_path), "has no weights as safetensors, and pickles are not read")
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle, which nobody reads")
    refused(str(tmp_path), "safetensors")


def test_a_hub_id_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="'nobody/nothing' is no folder here and could not be had"):
        Causal.Config(model="nobody/nothing").build(tokenizer_object=TOKENIZER)


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    whole = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="could not be loaded: SafetensorError"):
        Causal.Config(model=str(tmp_path)).build(tokenizer_object=TOKENIZER)


def test_weights_of_other_sizes_are_refused(tmp_path: Path, folder: Path) -> None:
    config = LlamaConfig.from_pretrained(folder)
    config.intermediate_size = 48
    config.save_pretrained(tmp_path)
    shutil.copy(folder / "model.safetensors", tmp_path)
    with pytest.raises(InputError, match="could not be loaded"):
        Causal.Config(model=str(tmp_path)).build(tokenizer_object=TOKENIZER)


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path, folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(PartError, match=r"lacks 1 of this model's weights.*up_proj"):
        Causal.Config(model=str(tmp_path)).build(tokenizer_object=TOKENIZER)
