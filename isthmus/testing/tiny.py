"""Parts of a few thousand weights, built in a moment from nothing but code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image

from isthmus.core.config import create, validate_part
from isthmus.core.contracts import LLM, Encoder, ImageSlot, Sample, Turn
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.tokenizer import train_bpe


def tiny_encoder_config(**fields: Any) -> Encoder.Config:
    """A CLIP tower of 3 layers and width 24 that looks at 32 x 32 pixels in 16 patches."""
    shape = {
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
    }
    config: Any = validate_part("encoder", {"type": "clip", "config": shape, **fields})
    return config


def tiny_llm_config(**fields: Any) -> LLM.Config:
    """A LLaMA of 2 layers and width 32, whose tokenizer is trained on the run's own text."""
    shape = {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    }
    values = {"type": "causal", "config": shape, "tokenizer": {"vocab_size": 300}, **fields}
    config: Any = validate_part("llm", values)
    return config


def tiny_model_config(connector: str | dict[str, Any] = "mlp") -> ModelConfig:
    """Tiny encoder, connector and LLM."""
    values = {"type": connector} if isinstance(connector, str) else connector
    joint: Any = validate_part("connector", values)
    return ModelConfig(encoder=tiny_encoder_config(), connector=joint, llm=tiny_llm_config())


def tiny_texts() -> Iterator[str]:
    """Enough words to train `tiny_tokenizer` on."""
    for colour in ("red", "green", "blue"):
        for thing in ("dog", "cat", "house", "boat"):
            yield f"What is in the picture? A {colour} {thing}, and nothing else."


def tiny_tokenizer() -> Any:
    """A byte-level BPE of at most 300 tokens, control tokens `<pad>`, `<s>` and `</s>`."""
    return train_bpe(tiny_texts(), 300)


def tiny_connector() -> Any:
    """An MLP from the tiny encoder's width to the tiny LLM's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create("connector", "mlp", dim_in=24, dim_out=32)


def tiny_template() -> Any:
    """LLaVA-1.5's conversation."""
    return create("template", "vicuna_v1")


def tiny_samples() -> list[Sample]:
    """Conversations with one picture, with two, and with none."""
    first, second, third, _ = tiny_pictures()
    ask, answer = "\nWhat is in the picture?", Turn("assistant", ("A red dog.",))
    one = (Turn("user", (ImageSlot(0), ask)), answer)
    two = (*one, Turn("user", ("And here? ", ImageSlot(1))), Turn("assistant", ("A cat.",)))
    none = (Turn("user", ("What is a boat?",)), Turn("assistant", ("A house, and nothing else.",)))
    return [
        Sample("one", one, (first,), "tiny, record 1"),
        Sample("two", two, (second, third), "tiny, record 2"),
        Sample("none", none, (), "tiny, record 3"),
    ]


def tiny_pictures() -> list[Image.Image]:
    """RGB pictures of different shapes, each of its own noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = ((40, 30), (30, 40), (32, 32), (7, 90))
        noise = [torch.randint(256, (high, wide, 3), dtype=torch.uint8) for wide, high in sizes]
    return [Image.fromarray(pixels.numpy()) for pixels in noise]
