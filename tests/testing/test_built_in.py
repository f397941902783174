"""Every built-in template, source, objective and tuner keeps its contract; those of a new name
are missed here until they are listed. Encoders, connectors and LLMs: where each is tested."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.config import validate_part
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.registry import get_registry
from isthmus.testing import (
    check_objective,
    check_source,
    check_template,
    check_text_encoder,
    check_tuner,
    tiny_encoder_config,
    tiny_pictures,
    tiny_texts,
    tiny_tokenizer,
)
from tests.plugins.objectives.matches import samples

CHAT = (
    "{% for m in messages %}{{ '<' + m.role + '>' + m.content | trim + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
TRAINED = {"vocab_size": 300}
TOWER = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 20,
}
SIZES = {"dim": 24, "layers": 2, "heads": 4, "hidden": 48}
BERT = {**SIZES, "positions": 20, "dropout": 0.0, "tokenizer": TRAINED}
READERS: list[tuple[str, dict[str, Any]]] = [
    ("connector", {"type": "qformer", "queries": 3, "text": "objective", **BERT}),
    ("llm", {"type": "med", **BERT}),
    ("text_encoder", {"type": "bert", "cross": True, "alone": 1, **BERT}),
]
"""Parts that objectives on matches run, each in a model of its own."""
ELSEWHERE = {"objective": {"dpo"}, "tuner": {"norms"}}
"""Parts that are tried beside their other tests, since they need a model of their own."""
PARTS: dict[str, list[dict[str, Any]]] = {
    "template": [
        {"type": "plain"},
        {"type": "plain", "end": "text"},
        {"type": "plain", "images_before_start": True},
        {"type": "bare"},
        {"type": "bare", "before": "Question: ", "after": " Answer:"},
        {"type": "bare", "images_before_start": True},
        {"type": "vicuna_v1"},
        {"type": "vicuna_v1", "system": ""},
        {"type": "llama2"},
        {"type": "chatml", "system": "Be kind."},
        {"type": "tokenizer"},
    ],
    "source": [
        {"type": "llava"},
        {"type": "llava", "image_first": True, "limit": 2},
        {"type": "llava", "stream": True},
        {"type": "messages", "weight": 0.5},
        {"type": "video", "frames": 1},
        {"type": "video", "timestamps": False, "stream": True},
    ],
    "objective": [
        {"type": "lm"},
        {"type": "lm", "rows": 3},
        {"type": "prefix_lm"},
        {"type": "prefix_lm", "share": 0.5, "rows": 3},
        {"type": "clip", "dim": 8},
        {"type": "clip", "pool": "attention", "heads": 2},
        {"type": "siglip", "dim": 8},
        {"type": "itc", "dim": 8},
        {"type": "itm"},
        {"type": "itg"},
        {"type": "itg", "smoothing": 0.1},
        {"type": "mlm"},
        {"type": "mlm", "share": 0.5},
        {"type": "mix", "of": [{"type": "itc"}, {"type": "itm", "weight": 2.0}, {"type": "itg"}]},
        {"type": "mix", "of": ["itc", "itm", "mlm"], "momentum": {"queue": 8, "warmup": 4}},
    ],
    "text_encoder": [
        {"type": "clip", "config": TOWER, "tokenizer": TRAINED},
        {"type": "siglip", "config": TOWER | {"projection_size": 16}, "tokenizer": TRAINED},
        {"type": "bert", **BERT},
        {"type": "bert", **BERT, "cross": True},
        {"type": "bert", **BERT, "cross": True, "alone": 1},
    ],
    "tuner": [
        {"type": "frozen"},
        {"type": "full", "lr": 1e-4},
        {"type": "lora", "r": 2},
        {"type": "lora", "r": 2, "targets": ["0"], "hand_over": "keep"},
        {"type": "last_layers"},
        {"type": "last_layers", "layers": 2, "lr": 1e-4},
        {
            "type": "by_module",
            "modules": {"layers.0": "full", "layers.2": {"type": "full", "lr": 1e-4}},
        },
    ],
}


@pytest.mark.parametrize("kind", PARTS)
def test_every_built_in_part_is_listed(kind: str) -> None:
    there = {entry.name for entry in get_registry().entries() if entry.builtin}
    there &= set(get_registry().names(kind))
    listed = {part["type"] for part in PARTS[kind]}
    assert listed | ELSEWHERE.get(kind, set()) == there


def test_every_built_in_chat_model_is_tried_in_its_own_tests() -> None:
    folder = Path(__file__).parents[1] / "plugins" / "chat_models"
    for name in get_registry().names("chat_model"):
        files = folder.glob(f"test_{name}*.py")
        assert any("check_chat_model(" in file.read_text() for file in files), name


@pytest.mark.parametrize("part", PARTS["template"], ids=str)
def test_template_conforms(part: dict[str, Any]) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = CHAT
    check_template(validate_part("template", part), tokenizer)


def test_chatml_conforms_where_its_marks_are_control_tokens() -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    check_template(validate_part("template", {"type": "chatml"}), tokenizer)


def says(kind: str, question: str) -> dict[str, Any]:
    """A record of two pictures, or of none, as this source reads it."""
    images = ["0.png", "1.png"] if "<image>" in question else []
    if kind == "messages":
        talk = [{"role": "user", "content": question}, {"role": "assistant", "content": "A cat."}]
        return {"id": "a", "messages": talk, "images": images}
    if kind == "video":
        question = question.replace("<image>", "it") + "<video>" * bool(images)
    talk = [{"from": "human", "value": question}, {"from": "gpt", "value": "A cat."}]
    seen = {"video" if kind == "video" else "image": images or None}
    return {"id": "a", "conversations": talk, **seen}


@pytest.mark.parametrize("part", PARTS["source"], ids=str)
def test_source_conforms(part: dict[str, Any], tmp_path: Path) -> None:
    for number, picture in enumerate(tiny_pictures()[:2]):
        picture.save(tmp_path / f"{number}.png")
    questions = ["Compare <image> with <image>.", "And now?", "<image><image>"]
    configs = []
    for name in ("some", "others"):
        file = tmp_path / f"{name}.jsonl"
        records = [says(part["type"], question) for question in questions]
        file.write_text("\n".join(map(json.dumps, records)))
        configs.append(validate_part("source", {**part, "file": file, "images": tmp_path}))
        questions.reverse()
    check_source(*configs)


@pytest.mark.parametrize("part", PARTS["objective"], ids=str)
def test_objective_conforms(part: dict[str, Any]) -> None:
    config: Any = validate_part("objective", part)
    if "llm" in config.needs:
        check_objective(config)
        return
    made = [validate_part(kind, fields) for kind, fields in READERS]
    if "text_encoder" in config.needs:
        made = [validate_part("text_encoder", PARTS["text_encoder"][0])]
    for reader in made:
        parts: Any = {"encoder": tiny_encoder_config(), reader.owner.kind: reader}
        model = build_model(ModelConfig(**parts), texts=tiny_texts)
        check_objective(config, model, samples())


@pytest.mark.parametrize("part", PARTS["text_encoder"], ids=str)
def test_text_encoder_conforms(part: dict[str, Any]) -> None:
    config: Any = validate_part("text_encoder", part)
    looks = {"visual_dim": 12} if part.get("cross") else {}
    check_text_encoder(config, texts=tiny_texts, **looks)


@pytest.mark.parametrize("part", PARTS["tuner"], ids=str)
def test_tuner_conforms(part: dict[str, Any]) -> None:
    check_tuner(validate_part("tuner", part))
