"""`concat`: several encoders as one, each looking at the picture in its own size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from einops import rearrange
from PIL import Image
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from isthmus import hookimpl
from isthmus.core.contracts import Encoder, Features, Grid, Grids, Images, ImageTransform, Place
from isthmus.core.model.vlm import learns
from isthmus.errors import PartError

Size = tuple[int, int]


@dataclass(frozen=True)
class ConcatTransform(ImageTransform):
    """One picture -> what each encoder's transform makes of it, in the encoders' order.

    Crops are as large as the largest among them, `size` (height, width): a smaller one lies in
    the upper left corner. `grid` is the one that all maps are brought to; without it, each keeps
    its own.
    """

    inner: tuple[ImageTransform, ...]
    size: Size
    grid: Grid | None

    def __call__(self, image: Image.Image) -> Tensor:
        high, wide = self.size
        crops = [transform(image) for transform in self.inner]
        room = [(0, wide - crop.shape[3], 0, high - crop.shape[2]) for crop in crops]
        padded = [functional.pad(crop, more) for crop, more in zip(crops, room, strict=True)]
        return torch.cat(padded)

    def grids(self, size: Size) -> Grids:
        if self.grid is not None:
            return (self.grid,)
        return tuple(grid for transform in self.inner for grid in transform.grids(size))

    @property
    def frame(self) -> Size:
        return self.size

    def squashed(self) -> ConcatTransform:
        inner = tuple(transform.squashed() for transform in self.inner)
        return ConcatTransform(inner, self.size, self.grid)


class Concat(Encoder, name="concat"):
    """Fused encoders. (crops 3 height width) -> (tokens dim), dim being the sum of their widths.

    By channel as in Prismatic (Karamcheti et al. 2024, arXiv:2402.07865) and Cambrian-1 (Tong et
    al. 2024, arXiv:2406.16860).
    """

    class Config(Encoder.Config):
        """Configuration of `concat`."""

        encoders: tuple[Encoder.Config, ...] = Field(min_length=2)
        """The encoders, in order; each prepares the picture by itself."""
        by: Literal["channel", "sequence"] = "channel"
        """`channel`: maps are interpolated to one grid, and a patch has the features of all
        encoders. `sequence`: maps stand one behind the other, and an encoder's features fill
        channels of their own, zeros beside them, so that the connector's first layer has weights
        for each encoder."""
        grid: tuple[PositiveInt, PositiveInt] | None = None
        """Rows and columns of the common grid of `by: channel`; absent, the first encoder's."""

        @property
        def maps(self) -> int:
            return 1 if self.by == "channel" else len(self.encoders)

        @property
        def pretrained(self) -> str | None:
            sources = [encoder.pretrained for encoder in self.encoders if encoder.pretrained]
            return " + ".join(sources) or None

        @property
        def all_pretrained(self) -> bool:
            return all(encoder.all_pretrained for encoder in self.encoders)

        def check(self) -> Iterator[tuple[Place, str]]:
            for index, encoder in enumerate(self.encoders):
                if encoder.maps != 1:
                    yield (
                        ("encoders", index),
                        f"{encoder.owner.name} gives {encoder.maps} maps of a picture, and "
                        "encoders that give one are put together; write `tiles` around `concat` "
                        "instead, or name the encoders inside it here",
                    )
            if self.grid is not None and self.by == "sequence":
                yield ("grid",), "maps keep their grids in a sequence; leave it out"

    config: Config
    transform: ConcatTransform

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        encoders: list[Encoder] = [encoder.build() for encoder in config.encoders]
        self.encoders: Any = nn.ModuleList(encoders)
        self.dims = [encoder.dim for encoder in encoders]
        self.dim = sum(self.dims)
        transforms = tuple(encoder.transform for encoder in encoders)
        self.frames = [_frame(config, index, each) for index, each in enumerate(transforms)]
        blank = Image.new("RGB", (32, 32))
        self.crops = [len(transform(blank)) for transform in transforms]
        self.grids = [transform.grids(blank.size)[0] for transform in transforms]
        size = max(high for high, _ in self.frames), max(wide for _, wide in self.frames)
        common = _common(config, self.grids) if config.by == "channel" else None
        self.transform = ConcatTransform(transforms, size, common)

    def forward(self, images: Images) -> Features:
        crops = rearrange(images.pixels, "(images n) c h w -> images n c h w", n=sum(self.crops))
        runs = torch.split(crops, self.crops, dim=1)
        seen = [self._look(index, run) for index, run in enumerate(runs)]
        common = self.transform.grid
        if common is None:
            joined = torch.cat([self._spread(i, each) for i, each in enumerate(seen)], dim=1)
        else:
            pairs = zip(seen, self.grids, strict=True)
            joined = torch.cat([_resized(each, grid, common) for each, grid in pairs], dim=2)
        return Features(joined.flatten(0, 1), images.grids)

    def _look(self, index: int, crops: Tensor) -> Tensor:
        """What an encoder makes of its (images crops 3 height width) -> (images tokens dim)"""
        encoder, (high, wide) = self.encoders[index], self.frames[index]
        count, each, *_ = crops.shape
        pixels = crops[..., :high, :wide].flatten(0, 1)
        own = Images(pixels, (each,) * count, ((self.grids[index],),) * count)
        with torch.set_grad_enabled(learns(encoder) and torch.is_grad_enabled()):
            features: Features = encoder(own)
        return rearrange(features.values, "(images n) dim -> images n dim", images=count)

    def _spread(self, index: int, values: Tensor) -> Tensor:
        """(images tokens dim) in channels of their own among those of all, zeros beside them."""
        before = sum(self.dims[:index])
        return functional.pad(values, (before, self.dim - before - self.dims[index]))

    def train(self, mode: bool = True) -> Self:
        """Like `nn.Module.train`, but an encoder in which nothing learns stays in eval mode."""
        super().train(mode)
        for encoder in self.encoders:
            if not learns(encoder):
                encoder.eval()
        return self

    @property
    def encoder_layers(self) -> Sequence[nn.Module]:
        return [layer for encoder in self.encoders for layer in encoder.encoder_layers]

    def blueprint(self) -> Config:
        inner = tuple(encoder.blueprint() for encoder in self.encoders)
        return self.config.model_copy(update={"encoders": inner})


def _frame(config: Concat.Config, index: int, transform: ImageTransform) -> Size:
    if transform.frame is None:
        raise PartError(
            f"encoder concat: encoders[{index}]: {config.encoders[index].owner.name} takes "
            "pictures of any size, which do not fit into one batch with others; leave it out"
        )
    return transform.frame


def _common(config: Concat.Config, grids: Sequence[Grid]) -> Grid:
    """The grid that all maps are brought to."""
    for index, grid in enumerate(grids):
        if grid.prefix:
            raise PartError(
                f"encoder concat: encoders[{index}]: its class and register tokens have no place "
                "on a common grid; write `select: patch` there, or `by: sequence`"
            )
    return Grid(*config.grid) if config.grid else grids[0]


def _resized(values: Tensor, grid: Grid, common: Grid) -> Tensor:
    """(images tokens dim) of one grid, bilinearly on another, where it is another."""
    if grid == common:
        return values
    maps = rearrange(values, "images (h w) dim -> images dim h w", h=grid.height)
    size = common.height, common.width
    resized = functional.interpolate(maps, size, mode="bilinear", align_corners=False)
    return rearrange(resized, "images dim h w -> images (h w) dim")


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Concat)
