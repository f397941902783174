"""Choosing by comparing: beside transformers' own models, and by a model that a run has taught."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

import isthmus
from isthmus.core import checkpoint
from isthmus.core.assistant import Classifier, classifier_of
from isthmus.core.config import load
from isthmus.core.model.transform import normalise
from isthmus.errors import DataError, PartError
from isthmus.evaluate.config import EvaluationConfig
from isthmus.evaluate.evaluation import Evaluation
from isthmus.testing import tiny_pictures, tiny_tokenizer
from tests.oracles import TOWER, VISION, shifted

WORDS = {"vocab_size": 320, "max_position_embeddings": 24}
OPTIONS = ("dog", "cat", "house and boat")
PROMPTS = ("A red {}.", "What is in the picture? A {}.")
COLOURS = {"red": (230, 20, 20), "green": (20, 200, 30), "blue": (30, 40, 240)}

CLIP = {"type": "clip", "dim": 10, "pool": "cls"}
SIGLIP = {"type": "siglip", "dim": None, "pool": "attention", "heads": 4}
HIDDEN = {"hidden": 48}


def reader() -> Any:
    """The tiny tokenizer, whose texts end with its last token: transformers' CLIP takes an end of
    text of the id 2 for the largest id of a text."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<end>"})
    return tokenizer


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, str]]:
    """Family -> transformers' whole model, and the folder that it was saved in."""
    tokenizer, found = reader(), {}
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = TOWER | WORDS | ids
    wholes = {
        "clip": CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=10)),
        "siglip": SiglipModel(
            SiglipConfig(text_config=text | {"projection_size": 24}, vision_config=VISION)
        ),
    }
    for family, whole in wholes.items():
        torch.manual_seed(0)
        shifted(whole, 0.2)
        folder = tmp_path_factory.mktemp(family)
        whole.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        found[family] = (whole.eval(), str(folder))
    return found


def parts(family: str, folder: str, **encoder: Any) -> dict[str, Any]:
    select = {"select": "cls_patch"} if family == "clip" else {}
    seeing = {"type": family, "model": folder, "layer": -1, "preprocess": "resize"} | select
    return {"encoder": seeing | encoder, "text_encoder": {"type": family, "model": folder}}


@pytest.mark.parametrize(("family", "said"), [("clip", CLIP), ("siglip", SIGLIP | HIDDEN)])
def test_a_published_folder_scores_as_transformers_does(
    published: dict[str, tuple[Any, str]], family: str, said: dict[str, Any]
) -> None:
    whole, folder = published[family]
    classifier = Classifier.of(parts(family, folder), said | {"model": folder}, PROMPTS)
    texts = [prompt.replace("{}", option) for prompt in PROMPTS for option in OPTIONS]
    encoder: Any = classifier.model.encoder
    pixels = torch.cat([encoder.transform(picture) for picture in tiny_pictures()])
    tokenizer = reader()
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    words = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    ids = torch.full((len(texts), 24), pad)
    for row, text in enumerate(words):
        ids[row, : len(text) + 2] = torch.tensor([start, *text, end])
    mask = {} if family == "siglip" else {"attention_mask": (ids != pad).long()}
    with torch.no_grad():
        wanted = whole(
            input_ids=ids,
            pixel_values=normalise(pixels, encoder.pixel_mean, encoder.pixel_std, torch.float32),
            **mask,
        )
    seen, read = classifier.pictures(tiny_pictures(), 3), classifier.texts(texts, 4)
    logits = classifier.objective.scale().detach() * seen @ read.T
    if family == "siglip":
        logits = logits + classifier.objective.bias.detach()
    torch.testing.assert_close(logits, wanted.logits_per_image, rtol=1e-5, atol=1e-5)
    ensemble = wanted.text_embeds.unflatten(0, (2, 3)).mean(dim=0)
    nearest = (wanted.image_embeds @ torch.nn.functional.normalize(ensemble, dim=1).T).argmax(1)
    assert classifier.classify(tiny_pictures(), OPTIONS) == [OPTIONS[at] for at in nearest]


@pytest.mark.parametrize(
    ("family", "said", "encoder", "why"),
    [
        ("clip", CLIP | {"dim": 12}, {}, "dim: .* has another; write `dim: 10, pool: cls`"),
        ("clip", CLIP | {"pool": "mean"}, {}, "pool: .* write `dim: 10, pool: cls`"),
        ("clip", SIGLIP, {}, "is a 'clip' model.* it takes those of a 'siglip' model"),
        ("clip", CLIP, {"layer": 1}, "behind layer 2 .* runs up to 1; write `layer: -1`"),
        ("siglip", SIGLIP, {}, "hidden: .* pool: attention, heads: 4, hidden: 48`"),
        ("siglip", SIGLIP | {"heads": 2} | HIDDEN, {}, "heads: .* write `dim: null"),
        ("clip", {"type": "lm"}, {}, "compares pictures with texts"),
    ],
)
def test_ends_that_do_not_fit_are_refused(
    published: dict[str, tuple[Any, str]],
    family: str,
    said: dict[str, Any],
    encoder: dict[str, Any],
    why: str,
) -> None:
    folder = published[family][1]
    ends = {} if said["type"] == "lm" else {"model": folder}
    with pytest.raises(PartError, match=why):
        Classifier.of(parts(family, folder, **encoder), said | ends)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learnt which colour is called what, from its captions."""
    home = tmp_path_factory.mktemp("colours")
    rows = []
    for number, (name, colour) in enumerate(12 * list(COLOURS.items())):
        shade = tuple(max(0, value - number) for value in colour)
        Image.new("RGB", (8, 8), shade).save(home / f"{number}.png")
        turns = [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": f"a {name} square"},
        ]
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": turns})
    (home / "train.json").write_text(json.dumps(rows))
    asked = [
        {"question_id": n, "image": f"{n}.png", "text": "Which colour?", "answer": name}
        for n, name in enumerate(COLOURS)
    ]
    (home / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    eye = {"type": "vit", "image_size": 8, "patch_size": 8, "dim": 16, "depth": 1, "heads": 2}
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    reader = {"config": shape | {"num_attention_heads": 2, "max_position_embeddings": 24}}
    stage = {
        "name": "contrast",
        "train": {"encoder": "full", "text_encoder": "full"},
        "objective": {"type": "clip", "dim": 16},
        "data": [{"type": "llava", "file": str(home / "train.json"), "images": str(home)}],
        "batch": {"samples": 12},
        "optimizer": {"lr": 3e-3},
        "steps": 40,
    }
    isthmus.run(
        {
            "model": {
                "encoder": eye,
                "text_encoder": {"type": "clip", "tokenizer": {"vocab_size": 300}} | reader,
            },
            "out": str(home / "run"),
            "threads": 1,
            "stages": [stage],
        }
    )
    return home / "run"


def evaluation(run: Path, **settings: Any) -> EvaluationConfig:
    home = run.parent
    asked = {"type": "exact_match", "data": str(home / "asked.jsonl"), "options": list(COLOURS)}
    values = {"models": {"clip": str(run)}, "benchmarks": {"colours": asked}}
    return load(EvaluationConfig, values | {"out": str(home / "out")} | settings)


def test_a_run_without_llm_is_evaluated_by_the_option_it_chooses(taught: Path) -> None:
    asking = Evaluation(evaluation(taught, prompts=["a {} square", "{}"]))
    for _ in asking.answer("cpu"):
        pass
    (section,) = asking.results()
    (entry,) = section.entries
    assert entry.scores is not None
    assert entry.scores.score == 100
    answers = (taught.parent / "out" / "clip" / "colours" / "answers.jsonl").read_text()
    said = [json.loads(line)["text"] for line in answers.splitlines()]
    assert said == list(COLOURS)
    blank = (taught.parent / "out" / "clip" / "colours" / "answers-blank.jsonl").read_text()
    assert len({json.loads(line)["text"] for line in blank.splitlines()}) == 1
    # Other prompts are other settings: what is answered is not mixed with it.
    with pytest.raises(DataError, match="metadata"):
        Evaluation(evaluation(taught, prompts=["{}"]))


@pytest.mark.parametrize("prompts", [["a picture"], [], "a {} picture"])
def test_prompts_without_a_place_are_refused_in_python_too(taught: Path, prompts: Any) -> None:
    with pytest.raises(isthmus.errors.InputError, match="has no place for an option; write a list"):
        classifier_of(checkpoint.load(taught), "cpu", prompts)


def test_of_no_options_none_is_chosen(taught: Path) -> None:
    classifier = classifier_of(checkpoint.load(taught), "cpu")
    with pytest.raises(DataError, match="options: there is none"):
        classifier.classify([Image.new("RGB", (8, 8))], [])
    assert classifier.classify([], ["red"]) == []


def test_who_asks_it_to_talk_is_told_what_it_can_do(taught: Path) -> None:
    said = "it has no llm that could answer, but encoder, text_encoder; give a checkpoint of"
    with pytest.raises(isthmus.errors.CheckpointError, match=f"{said}.*isthmus evaluate"):
        isthmus.load(taught)


def test_what_has_no_options_cannot_be_chosen(taught: Path) -> None:
    data = {"type": "exact_match", "data": str(taught.parent / "asked.jsonl")}
    with pytest.raises(DataError, match=r"models.clip: it has no llm.*0 options and 1 pictures"):
        Evaluation(evaluation(taught, benchmarks={"open": data}))


def test_a_prompt_without_a_place_is_refused(taught: Path) -> None:
    with pytest.raises(isthmus.errors.InputError, match="no place for an option"):
        evaluation(taught, prompts=["a picture"])
