"""Whose features are kept together: encoders, transforms and arithmetic that could differ in what
they see have other names, and what draws at random or hides its settings is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from isthmus.core.config import load
from isthmus.core.contracts import Grid, ImageTransform
from isthmus.core.model.build import build_model
from isthmus.core.train.config import RunConfig
from isthmus.core.train.features import check_transform, space_of
from isthmus.errors import PartError
from isthmus.testing import tiny_encoder_config
from tests.core.train.tiny import stage, tiny_run, write_data


@dataclass(frozen=True)
class Flips(ImageTransform):
    """Half of all pictures the other way round."""

    def __call__(self, image: Image.Image) -> Tensor:
        pixels = torch.full((1, 3, 8, 8), 7, dtype=torch.uint8)
        pixels[..., int(torch.rand(()) < 0.5)] = 9
        return pixels

    def grids(self, size: tuple[int, int]) -> tuple[Grid, ...]:
        return (Grid(2, 2),)


class Says(Flips):
    """Owns up to it."""

    draws = True

    def __call__(self, image: Image.Image) -> Tensor:
        return torch.zeros(1, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize("transform", [Flips(), Says()])
def test_pictures_that_come_out_by_chance_are_refused(tmp_path: Path, transform: ImageTransform):
    write_data(tmp_path, 4)
    keeps = stage(tmp_path, features={"cache": str(tmp_path / "cache")})
    config = load(RunConfig, tiny_run(tmp_path, keeps))
    model = build_model(config.model, texts=lambda: ["red green blue"])
    check_transform(config, model)
    model.encoder.transform = transform
    with pytest.raises(PartError, match=r"stages\[0\]\.features: .*'clip' draws at random"):
        check_transform(config, model)


def variants() -> Iterator[tuple[str, Any]]:
    """Encoders that differ from the plain one in one thing each."""
    plain = tiny_encoder_config
    for name, config in (
        ("layer", plain(layer=-3)),
        ("class token", plain(select="cls_patch")),
        ("transform", plain(preprocess="pad")),
        ("statistics", plain(mean=(0.5, 0.5, 0.5))),
    ):
        torch.manual_seed(0)
        yield name, config.build()
    torch.manual_seed(1)
    yield "weights", plain().build()
    torch.manual_seed(0)
    yield "dtype", plain().build().to(torch.bfloat16)
    torch.manual_seed(0)
    other = plain().build()
    other.transform = replace(other.transform, zoom=0.999)
    yield "a setting that small pictures do not show", other


def test_another_encoder_transform_or_arithmetic_has_another_name():
    torch.manual_seed(0)
    encoder = tiny_encoder_config().build()
    names = {name: space_of(other, [], ["cpu", False]) for name, other in variants()}
    names |= {
        "plain": space_of(encoder, [], ["cpu", False]),
        "bf16": space_of(encoder, [], ["cpu", True]),
        "cuda": space_of(encoder, [], ["cuda", False]),
        "lora": space_of(encoder, [{"type": "lora", "rank": 2}], ["cpu", False]),
    }
    assert len(set(names.values())) == len(names)
    assert all(name.startswith("clip-") for name in names.values())


def test_an_encoder_that_a_checkpoint_rebuilds_has_the_same_name():
    encoder = tiny_encoder_config(layer=-2).build()
    again = encoder.blueprint().build()
    again.load_state_dict(encoder.state_dict())
    assert space_of(again, [], ["cpu", False]) == space_of(encoder, [], ["cpu", False])


def test_a_transform_that_hides_its_settings_is_refused():
    class Hides(Flips):
        def __init__(self) -> None:
            self.__dict__["how"] = lambda image: image

        __repr__ = object.__repr__

    encoder = tiny_encoder_config().build()
    encoder.transform = Hides()
    with pytest.raises(PartError, match="Hides does not say what its settings are"):
        space_of(encoder, [], ["cpu", False])
