"""A good run in a folder, and ways to spoil it."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

RUN = """\
model:
  encoder:
    type: clip
    config: {hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2,
             num_attention_heads: 2, image_size: 8, patch_size: 4}
  connector: {type: linear}
  llm:
    type: causal
    config: {model_type: llama, hidden_size: 16, intermediate_size: 24,
             num_hidden_layers: 2, num_attention_heads: 2}
    tokenizer: {vocab_size: 300}
template: plain
out: run
threads: 1
stages:
  - name: align
    train: {connector: full}
    data: [{type: llava, file: data.json, images: pictures}]
    batch: {samples: 4}
    optimizer: {lr: 1e-5}
    steps: 1
"""

Spoil = Callable[[Path], object]


def yaml(old: str, new: str) -> Spoil:
    """The YAML with something else in it."""
    assert RUN.count(old) == 1
    return lambda folder: (folder / "run.yaml").write_text(RUN.replace(old, new))


def third_record(**fields: Any) -> Spoil:
    """The data with other fields in its third record."""

    def spoil(folder: Path) -> None:
        records = json.loads((folder / "data.json").read_text())
        records[2] |= fields
        (folder / "data.json").write_text(json.dumps(records))

    return spoil


def says(*turns: str) -> list[dict[str, str]]:
    """A conversation: the user and the assistant by turns."""
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(turns)]


def third_picture(data: bytes) -> Spoil:
    """The picture of the third record with other bytes in its file."""
    return lambda folder: (folder / "pictures" / "2.png").write_bytes(data)


def cut_off(folder: Path) -> None:
    data = (folder / "data.json").read_bytes()
    (folder / "data.json").write_bytes(data[: data.index(b"Tell me")])


def linked(folder: Path) -> None:
    (folder / "pictures" / "2.png").unlink()
    (folder / "pictures" / "2.png").symlink_to("/etc/passwd")


def half_a_jpeg() -> bytes:
    buffer = BytesIO()
    Image.effect_noise((64, 64), 90).save(buffer, "JPEG")
    return buffer.getvalue()[: buffer.tell() // 2]


def bomb() -> bytes:
    """20,000 x 10,000 pixels of one bit, all black: 25 MB in 24 KB."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 10_000, 1, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(2501 * 10_000)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")
