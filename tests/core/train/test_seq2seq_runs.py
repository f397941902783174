"""Runs whose LLM is an encoder-decoder: what they learn, save, resume and answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

import isthmus
from isthmus.cli import app
from isthmus.core.config import load, validate_part
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.train.run import run
from isthmus.testing import (
    check_objective,
    tiny_encoder_config,
    tiny_samples,
    tiny_template,
    tiny_texts,
)
from tests.core.train.listeners import Crash, Recorder, crash_at, metrics, weights
from tests.core.train.step_gradients import gradients, setting
from tests.core.train.test_ranks import close, torchrun
from tests.core.train.tiny import CLIP, COLOURS, source, stage, tiny_run, write_data

T5 = {
    **{"model_type": "t5", "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2},
    **{"num_heads": 2, "dropout_rate": 0.0, "relative_attention_num_buckets": 8},
}
BART = {
    **{"model_type": "bart", "d_model": 16, "encoder_layers": 2, "decoder_layers": 2},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "dropout": 0.0},
    **{"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 256},
}
LLMS: dict[str, dict[str, Any]] = {
    name: {"type": "seq2seq", "config": shape, "tokenizer": {"vocab_size": 300}}
    for name, shape in (("t5", T5), ("bart", BART))
}
ALL = {"encoder": "full", "connector": "full", "llm": "full"}


def with_llm(name: str) -> dict[str, Any]:
    return {"encoder": CLIP, "connector": {"type": "linear"}, "llm": LLMS[name]}


@pytest.mark.parametrize("name", LLMS)
def test_the_objective_keeps_its_contract(name: str) -> None:
    config = ModelConfig(
        encoder=tiny_encoder_config(),
        connector=validate_part("connector", {"type": "mlp"}),
        llm=validate_part("llm", LLMS[name]),
    )
    objective: Any = validate_part("objective", {"type": "lm"})
    check_objective(objective, build_model(config, texts=tiny_texts))
    in_chunks: Any = validate_part("objective", {"type": "lm", "rows": 3})
    check_objective(in_chunks, build_model(config, texts=tiny_texts))


@pytest.mark.parametrize("name", LLMS)
def test_the_loss_is_that_of_transformers_own_model_with_labels(name: str) -> None:
    joint: Any = validate_part("connector", {"type": "mlp"})
    llm: Any = validate_part("llm", LLMS[name])
    config = ModelConfig(encoder=tiny_encoder_config(), connector=joint, llm=llm)
    model = build_model(config, texts=tiny_texts).eval()
    objective: Any = validate_part("objective", {"type": "lm"}).build()
    preparer = objective.preparer(model.tools(tiny_template()))
    for sample in tiny_samples():
        batch = preparer.collate([preparer.prepare(sample)])
        embeds, _ = model.embed(batch.source_ids, batch.visual, batch.images, None, batch.shows)
        wanted = 0.0
        sources = embeds.split(batch.sources.lengths)
        targets = batch.targets.split(batch.segments.lengths)
        for read, labels in zip(sources, targets, strict=True):
            theirs = model.llm.model(inputs_embeds=read[None], labels=labels[None])
            wanted += theirs.loss.item() * len(labels)
        assert objective(model, batch).sum.item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", LLMS)
def test_stages_train_save_and_answer(name: str, tmp_path: Path) -> None:
    write_data(tmp_path, 8, text_only=2)
    heard = Recorder()
    align = stage(tmp_path, validation={"data": [source(tmp_path)]})
    lora = {"connector": "full", "llm": {"type": "lora", "r": 2}}
    instruct = stage(
        tmp_path, name="instruct", train=lora, steps=2, recompute="full",
        batch={"tokens": 500, "micro_tokens": 250}, max_length=200,
    )  # fmt: skip
    folder = run(tiny_run(tmp_path, align, instruct, model=with_llm(name)), events=heard)
    notes = " ".join(heard.stages[0].notes)
    assert ("BartForConditionalGeneration cannot run packs" in notes) == (name == "bart")
    found = heard.evaluated_[0].metrics
    assert found["grounding"] == found["val_loss_shuffled"] - found["val_loss"] != 0
    padding = [line["padding"] for line in metrics(tmp_path / "run") if "padding" in line]
    assert (max(padding) > 0) == (name == "bart")
    assistant = isthmus.load(folder)
    picture = Image.new("RGB", (8, 8), "red")
    messages = [
        [
            {
                "role": "user",
                "content": [{"type": "image", "image": picture}, {"type": "text", "text": text}],
            }
        ]
        for text in ("What colour is it?", "What? " * 5)
    ]
    together = assistant.answer(messages, max_new_tokens=6)
    assert together == [assistant.reply(each, max_new_tokens=6) for each in messages]
    pieces = assistant.stream(messages[0], max_new_tokens=6)
    assert "".join(pieces) == together[0]


@pytest.mark.slow
def test_a_t5_learns_to_name_colours_that_it_sees(tmp_path: Path) -> None:
    write_data(tmp_path, 16)
    learns = stage(tmp_path, train=ALL, steps=150, batch={"samples": 16}, optimizer={"lr": 1e-2})
    folder = run(tiny_run(tmp_path, learns, model=with_llm("t5"), seed=1))
    losses = [line["loss"] for line in metrics(tmp_path / "run")]
    assert losses[-1] < 0.1 * losses[0]
    assistant = isthmus.load(folder)
    right = 0
    for colour in COLOURS:
        picture = {"type": "image", "image": Image.new("RGB", (8, 8), colour)}
        content = [picture, {"type": "text", "text": "\nWhat colour is it?"}]
        reply = assistant.reply([{"role": "user", "content": content}], max_new_tokens=20)
        right += reply == f"It is {colour}."
    assert right >= 7


def test_a_resumed_run_is_the_whole_one(tmp_path: Path) -> None:
    write_data(tmp_path, 8, text_only=2)
    values = tiny_run(
        tmp_path, stage(tmp_path, train=ALL, save_every=1, steps=3), model=with_llm("t5")
    )
    whole = run(values | {"out": str(tmp_path / "whole")})
    with pytest.raises(Crash):
        run(values, events=crash_at("align", 2))
    assert weights(run(values, resume=True)) == weights(whole)


def test_the_verb_generate_asks_it(tmp_path: Path) -> None:
    write_data(tmp_path, 4)
    folder = run(tiny_run(tmp_path, stage(tmp_path, steps=1), model=with_llm("t5")))
    rows = [
        {"question_id": 1, "image": "0.png", "text": "What colour is it?"},
        {"question_id": 2, "text": "What?"},
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["generate", "--model", folder, "--questions", tmp_path / "q.jsonl"]
    asked += ["--images", tmp_path / "pictures", "--out", tmp_path / "a.jsonl"]
    result = CliRunner().invoke(app, [*map(str, asked), "--max-new-tokens", "4"])
    assert result.exit_code == 0, result.stderr
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("name", LLMS)
def test_a_batch_has_the_gradient_of_every_sample_by_itself(name: str, tmp_path: Path) -> None:
    write_data(tmp_path, 4, text_only=3)
    root, mixture, preparer = setting(tmp_path, None, LLMS[name])
    examples = [preparer.prepare(mixture[number]) for number in range(len(mixture))]

    def gradient(batches: list[list[Any]]) -> Tensor:
        root.zero_grad()
        for batch in batches:
            root(preparer.collate(batch))[0].backward()
        found = [p.grad.flatten() for p in root.parameters() if p.grad is not None]
        return torch.cat(found)

    together, alone = gradient([examples]), gradient([[each] for each in examples])
    assert (together - alone).norm() <= 1e-5 * alone.norm()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", LLMS)
def test_two_processes_have_the_gradient_of_one(tmp_path: Path, mode: str, name: str) -> None:
    write_data(tmp_path, 9, text_only=4)
    tuners = [{"connector": "full"}, {"connector": "full", "llm": "lora"}, None]
    out = tmp_path / "two.safetensors"
    given = (str(tmp_path), str(out), mode, json.dumps(tuners), json.dumps(LLMS[name]))
    ran = torchrun("-m", "tests.core.train.step_gradients", *given)
    assert ran.returncode == 0, ran.stderr
    wanted = {
        f"{number}/{key}": value
        for number, who in enumerate(tuners)
        for key, value in gradients(tmp_path, "ddp", who, LLMS[name])[2].items()
    }
    assert close(load_file(out), wanted) <= 1e-6


def test_an_inline_config_of_a_decoder_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    from isthmus.core.train.config import RunConfig
    from isthmus.errors import ConfigError

    write_data(tmp_path, 2)
    model = with_llm("t5")
    model["llm"] = model["llm"] | {"config": T5 | {"model_type": "llama"}}
    with pytest.raises(ConfigError, match=r"model\.llm\.config\.model_type: 'llama' is no encoder"):
        load(RunConfig, tiny_run(tmp_path, model=model))
