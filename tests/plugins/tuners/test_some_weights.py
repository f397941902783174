"""What `last_layers` and `norms` train, in parts of every kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from isthmus.core.contracts import Images, Segments
from isthmus.core.model.tokenizer import BpeConfig
from isthmus.errors import PartError
from isthmus.plugins.connectors.identity import Identity
from isthmus.plugins.encoders.concat import Concat
from isthmus.plugins.llms.causal import Causal
from isthmus.plugins.llms.seq2seq import Seq2Seq
from isthmus.plugins.text_encoders.bert import BertText
from isthmus.plugins.tuners.by_module import ByModule
from isthmus.plugins.tuners.last_layers import LastLayers
from isthmus.plugins.tuners.norms import Norms
from isthmus.testing import (
    check_tuner,
    tiny_encoder_config,
    tiny_llm_config,
    tiny_pictures,
    tiny_tokenizer,
)

TOKENIZER = tiny_tokenizer()
T5 = {"model_type": "t5", "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_heads": 2}


def encoder() -> Any:
    torch.manual_seed(0)
    return tiny_encoder_config().build().eval()


def llm() -> Causal:
    torch.manual_seed(0)
    built: Causal = tiny_llm_config().build(tokenizer_object=TOKENIZER)
    return built.eval()


def run(part: Any) -> Tensor:
    if hasattr(part, "transform"):
        out: Tensor = part(Images.of(tiny_pictures(), part.transform)).values
        return out
    hidden: Tensor = part(part.embed(torch.arange(3, 13)), Segments((6, 4)))
    return hidden


def learning(part: nn.Module) -> set[str]:
    return {name for name, p in part.named_parameters() if p.requires_grad}


def inside(part: nn.Module, *places: str) -> set[str]:
    return {n for n, _ in part.named_parameters() if n.startswith(tuple(f"{p}." for p in places))}


@pytest.mark.parametrize("part", [encoder, llm])
@pytest.mark.parametrize("config", [LastLayers.Config(layers=2), Norms.Config(biases=True)])
def test_they_conform(part: Any, config: Any) -> None:
    check_tuner(config, part(), run)


def test_norms_conform_without_biases() -> None:
    check_tuner(Norms.Config(lr=1e-3), llm(), lambda part: part.head(run(part)))


def test_the_last_blocks_of_an_llm_learn_and_not_the_head() -> None:
    part = llm()
    tuner = LastLayers.Config(layers=1, lr=1e-4).build()
    tuner.apply(part)
    (group,) = tuner.groups(part)
    assert learning(part) == set(group.parameters) == inside(part, "model.model.layers.1")
    assert group.lr == 1e-4


def test_the_last_blocks_of_an_encoder_are_those_that_run_last() -> None:
    part = encoder()
    LastLayers.Config().build().apply(part)
    # Of three layers `layer: -2` runs two.
    assert learning(part) == inside(part, "blocks.layers.1")


def test_the_last_blocks_of_an_encoder_decoder_are_the_decoders() -> None:
    part = Seq2Seq.Config(config=T5).build(tokenizer_object=TOKENIZER)
    LastLayers.Config(layers=2).build().apply(part)
    assert learning(part) == inside(part, "model.decoder.block.1", "model.decoder.block.2")


def test_the_encoders_are_reached_by_module() -> None:
    part = Seq2Seq.Config(config=T5).build(tokenizer_object=TOKENIZER)
    ByModule.Config(modules={"model.encoder": LastLayers.Config()}).build().apply(part)
    assert learning(part) == inside(part, "model.encoder.block.2")


def test_the_last_blocks_of_a_text_encoder_learn() -> None:
    sizes = {"dim": 16, "layers": 3, "heads": 2, "hidden": 24}
    part = BertText.Config(**sizes, tokenizer=BpeConfig(vocab_size=300)).build(
        tokenizer_object=TOKENIZER
    )
    LastLayers.Config().build().apply(part)
    assert learning(part) == inside(part, "bert.blocks.2")


def test_two_encoders_are_not_one_row_of_layers() -> None:
    part = Concat.Config(encoders=(tiny_encoder_config(), tiny_encoder_config())).build()
    with pytest.raises(PartError, match=r"layers in encoders.0\S* and encoders.1\S*; name one of"):
        LastLayers.Config().build().apply(part)


def test_more_layers_than_there_are_is_an_error() -> None:
    with pytest.raises(PartError, match=r"3 of them, and Causal has 2.*at most `layers: 2`"):
        LastLayers.Config(layers=3).build().apply(llm())


def test_norms_are_those_of_every_family() -> None:
    part = llm()
    Norms.Config().build().apply(part)
    norms = ("input_layernorm", "post_attention_layernorm")
    layers = {f"model.model.layers.{i}.{norm}.weight" for i in (0, 1) for norm in norms}
    assert learning(part) == layers | {"model.model.norm.weight"}
    part = Seq2Seq.Config(config=T5).build(tokenizer_object=TOKENIZER)
    Norms.Config().build().apply(part)
    # Two norms a layer of the encoder, three of the decoder, and one behind each.
    assert len(learning(part)) == 3 * 2 + 1 + 3 * 3 + 1


def test_biases_learn_where_they_are_asked_for() -> None:
    part = encoder()
    Norms.Config().build().apply(part)
    without = learning(part)
    assert {name.rpartition(".")[2] for name in without} == {"weight", "bias"}
    Norms.Config(biases=True).build().apply(part)
    added = learning(part) - without
    assert added == {n for n, _ in part.named_parameters() if n.endswith(".bias")} - without
    assert "blocks.layers.0.mlp.fc1.bias" in added


@pytest.mark.parametrize(
    ("config", "message"),
    [(LastLayers.Config(), "has no list of layers"), (Norms.Config(), "has no normalisation")],
)
def test_a_part_without_what_is_to_learn_is_refused(config: Any, message: str) -> None:
    part = Identity.Config().build(dim_in=8, dim_out=8)
    with pytest.raises(PartError, match=f"Identity {message}"):
        config.build().apply(part)
