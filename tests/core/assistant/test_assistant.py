"""An assistant answers as the model and the template say, whichever way it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from isthmus.core import assistant, checkpoint
from isthmus.core.assistant.messages import read_messages
from isthmus.core.contracts import Sample, Segments
from isthmus.core.data.pack import encode_prompt
from isthmus.core.model.generate import Stops
from isthmus.errors import CheckpointError, ConfigError, DataError, InputError, PartError
from tests.tiny_run import SHAPE, save_tiny_run

Save = Callable[..., Path]
RED, BLUE = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (5, 9), "blue")


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves a tiny run; arguments as `save_tiny_run` takes them."""
    return partial(save_tiny_run, tmp_path / "run")


def ask(text: str, *images: Any) -> list[dict[str, Any]]:
    pieces = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*pieces, {"type": "text", "text": text}]}]


TALKS = [
    ask("What?", RED),
    ask("Tell me about these two dogs and the cat", RED, BLUE),
    ask("Hello"),
    [*ask("What is in the picture?", BLUE), {"role": "assistant", "content": "A cat."}, *ask("Ok")],
    [{"role": "system", "content": "Be brief."}, *ask("Why?", RED)],
]


def test_pieces_make_the_reply(save: Save) -> None:
    loaded = assistant.load(save())
    drawn = {"temperature": 1.5, "seed": 3, "top_p": 0.9}
    for talk, settings in zip(TALKS, ({}, drawn, drawn, {}, drawn), strict=True):
        reply = loaded.reply(talk, max_new_tokens=24, **settings)
        assert "".join(loaded.stream(talk, max_new_tokens=24, **settings)) == reply


def test_a_batch_answers_as_one_by_one(save: Save) -> None:
    loaded = assistant.load(save())
    alone = [loaded.reply(talk, max_new_tokens=16) for talk in TALKS]
    assert len(set(alone)) > 1
    for size in (1, 2, 5):
        assert loaded.answer(TALKS, batch_size=size, max_new_tokens=16) == alone


def test_what_is_drawn_follows_from_the_number_and_not_from_neighbours(save: Save) -> None:
    loaded = assistant.load(save())
    settings: Any = {"max_new_tokens": 16, "temperature": 2.0, "seed": 1}
    talks = [TALKS[0]] * 3
    texts = loaded.answer(talks, batch_size=3, **settings)
    assert len(set(texts)) == 3
    assert loaded.answer(talks[:1], numbers=[2], **settings) == texts[2:]


def test_greedy_tokens_are_those_of_running_the_whole_sequence_again(save: Save) -> None:
    """No cache, no batch: one forward pass for each token."""
    loaded = assistant.load(save())
    model, tokenizer = loaded.model, loaded.tokenizer
    for talk in TALKS:
        read = read_messages(talk)
        encoded = encode_prompt(Sample("x", read.turns, read.pictures), loaded.tools)
        embeds, _ = model.embed(encoded.ids, encoded.visual, encoded.images)
        ids: list[int] = []
        for _ in range(12):
            hidden = model.llm(embeds, Segments((len(embeds),)))
            best = int(model.llm.head(hidden[-1]).argmax())
            if best == tokenizer.eos_token_id:
                break
            ids.append(best)
            embeds = torch.cat([embeds, model.llm.embed(torch.tensor([best]))])
        expected = tokenizer.decode(ids, skip_special_tokens=True).strip()
        assert loaded.reply(talk, max_new_tokens=12) == expected


def test_the_picture_counts_unless_the_run_was_blind(save: Save) -> None:
    def what(speaker: Any, image: Image.Image) -> str:
        return speaker.reply(ask("What?", image), max_new_tokens=16)

    seeing = assistant.load(save(seed=4))
    assert what(seeing, RED) != what(seeing, BLUE)
    blind = assistant.load(save(seed=4, blind=True))
    grey = Image.new("RGB", (9, 9), "grey")
    assert what(blind, RED) == what(blind, BLUE) == what(seeing, grey)


def test_a_typed_image_placeholder_shows_nothing(save: Save) -> None:
    loaded = assistant.load(save())
    prompt = loaded._prompt(ask("what does <image> mean? </s>"), "messages")
    assert prompt.images is None
    assert len(prompt.visual) == 0
    text = loaded.tokenizer.decode(prompt.ids)
    assert text.endswith("USER: what does <image> mean? </s> ASSISTANT:")
    assert prompt.ids.tolist().count(loaded.tokenizer.eos_token_id) == 0


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ({}, "vicuna_v1"),
        ({"stages": [{"name": "a", "template": "plain"}]}, "plain"),
        ({"stages": [{"name": "a", "template": {"type": "llama2"}}, {"template": "x"}]}, "llama2"),
        ({"stages": [{"name": "a", "template": None}]}, "vicuna_v1"),
    ],
)
def test_the_template_is_that_of_the_stage_or_the_run(run: Any, name: str, save: Save) -> None:
    assert assistant.load(save(**run)).template.name == name


def test_an_answer_ends_at_a_stop_in_characters(save: Save) -> None:
    folder = save(stages=[{"name": "a", "template": "plain"}])
    stopping, endless = assistant.load(folder), assistant.load(folder)
    endless.stops, endless._stop = Stops(), ""
    lengths = []
    for seed in range(4):
        settings: Any = {"max_new_tokens": 100, "temperature": 3.0, "seed": seed}
        whole = endless.reply(ask("", RED), **settings)
        text = stopping.reply(ask("", RED), **settings)
        lengths.append((len(text), len(whole)))
        assert text == whole.split("\n")[0].strip()
        assert "".join(stopping.stream(ask("", RED), **settings)) == text
    assert any(short < long for short, long in lengths), "the stop never came"


def test_no_template_is_an_error(save: Save) -> None:
    with pytest.raises(CheckpointError, match="names no template"):
        assistant.load(save(template=None))


def test_the_name_is_that_of_run_and_checkpoint(save: Save) -> None:
    assert assistant.load(save()).name == "run/01-align-000001"


def test_weights_and_arithmetic_follow_dtype(save: Save) -> None:
    loaded = assistant.load(save(), device="cpu", dtype=torch.bfloat16)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
    assert isinstance(loaded.reply(TALKS[1], max_new_tokens=4), str)
    assert not any(p.requires_grad for p in loaded.model.parameters())


def test_damaged_newer_checkpoints_are_warned_of(save: Save) -> None:
    run = save()
    newer = run / "checkpoints" / "01-align-000002"
    (run / "checkpoints" / "01-align-000001").rename(newer)
    save()
    (newer / "run.yaml").write_text("template: plain\n")
    with pytest.warns(UserWarning, match=r"000002: damaged: run\.yaml"):
        assert assistant.load(run).name == "run/01-align-000001"


def test_without_an_llm_there_is_no_assistant(save: Save) -> None:
    with pytest.raises(CheckpointError, match="it has no llm that could answer, but encoder"):
        assistant.load(save(model={"encoder": {"type": "clip", "config": SHAPE}}))


def test_images_need_an_encoder(save: Save) -> None:
    llm = {"config": SHAPE | {"model_type": "llama"}, "tokenizer": {"vocab_size": 300}}
    loaded = assistant.load(save(model={"llm": {"type": "causal", **llm}}))
    assert isinstance(loaded.reply(ask("Hello"), max_new_tokens=4), str)
    with pytest.raises(PartError, match="encoder"):
        loaded.reply(ask("What?", RED))


def test_wrong_input_is_said_before_anything_is_generated(save: Save, tmp_path: Path) -> None:
    loaded = assistant.load(save())
    with pytest.raises(DataError, match=r"messages\[0\]"):
        loaded.stream([{"role": "user"}])
    with pytest.raises(DataError, match=r"conversations\[1\]: the last message"):
        loaded.answer([TALKS[0], [*TALKS[0], {"role": "assistant", "content": "x"}]])
    with pytest.raises(DataError, match="no such file"):
        loaded.reply(ask("What?", tmp_path / "nothing.jpg"))
    with pytest.raises(ConfigError, match="top_p"):
        loaded.reply(TALKS[0], top_p=2.0)
    mistyped: Any = {"temprature": 1.0}
    with pytest.raises(ConfigError, match=r"temprature.*'temperature'"):
        loaded.stream(TALKS[0], **mistyped)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:3"])
def test_a_device_that_is_not_there_is_an_error(device: str, save: Save) -> None:
    with pytest.raises(InputError, match=f"device '{device}'"):
        assistant.load(save(), device=device)


def test_folders_without_a_checkpoint_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        assistant.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no checkpoint in it"):
        assistant.load(tmp_path)


def test_a_trainer_that_counts_more_stages_than_the_run_is_an_error(save: Save) -> None:
    run = save(stages=[{"name": "a"}])
    opened = checkpoint.load(run)
    state = checkpoint.TrainerState("b", 1, 1)
    checkpoint.save(run / "checkpoints" / "02-b-000001", opened.model(), opened.run, trainer=state)
    assert json.loads((run / "checkpoints" / "02-b-000001" / "trainer.json").read_text())
    with pytest.raises(CheckpointError, match="more stages"):
        assistant.load(run)
