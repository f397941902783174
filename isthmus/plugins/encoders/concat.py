"""`concat`: several encoders as one, each looking at the picture in its own size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

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
    """Fused encoders (Karamcheti et al. 2024, arXiv:2402.07865; Tong et al. 2024, arXiv:2406.16860).

    (crops 3 height width) -> (tokens dim), where dim is the sum of the encoders' widths.
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

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleList(encoder.build() for encoder in config.encoders)
        self.dims = [encoder.dim for encoder in self.encoders]
        self.dim = sum(self.dims)
        transforms = tuple(encoder.transform for encoder in self.encoders)
        frames = [_frame(config, index, each) for index, each in enumerate(transforms)]
        crops = [t(Image.new("RGB", (32, 32))) for t in transforms]
        self.crops = [len(crop) for crop in crops]
        self.sizes = [(crop.shape[2], crop.shape[3]) for crop in crops]
        size = max(high for high, _ in frames), max(wide for _, wide in frames)
        grids = [t.grids((32, 32))[0] for t in transforms]
        common = _common(config, grids) if config.by == "channel" else None
        self.transform = ConcatTransform(transforms, size, common)

    def forward(self, images: Images) -> Features:
        crops = rearrange(images.pixels, "(images n) c h w -> images n c h w", n=sum(self.crops))
        seen = []
        for encoder, own, (high, wide) in zip(
            self.encoders, torch.split(crops, self.crops, dim=1), self.sizes, strict=True
        ):
            pixels = rearrange(own[..., :high, :wide], "images n c h w -> (images n) c h w")
            grids = encoder.transform.grids((wide, high))
            counts = (own.shape[1],) * len(images)
            with torch.set_grad_enabled(learns(encoder) and torch.is_grad_enabled()):
                found: Features = encoder(Images(pixels, counts, (grids,) * len(images)))
            seen.append(_by_image(found))
        joined = self._channels(seen) if self.transform.grid else self._sequence(seen)
        return Features(joined.flatten(0, 1), images.grids)

    def _channels(self, seen: list[Tensor]) -> Tensor:
        """Of each encoder (images tokens dim) -> (images tokens dims), on the common grid."""
        common = self.transform.grid
        grids = [encoder.transform.grids((32, 32))[0] for encoder in self.encoders]
        maps = [
            values if grid == common else _resized(values, grid, common)
            for values, grid in zip(seen, grids, strict=True)
            if common is not None
        ]
        return torch.cat(maps, dim=2)

    def _sequence(self, seen: list[Tensor]) -> Tensor:
        """Of each encoder (images tokens dim) -> (images all-tokens dims), zeros elsewhere."""
        before = [sum(self.dims[:index]) for index in range(len(self.dims))]
        wide = [
            functional.pad(values, (start, self.dim - start - values.shape[2]))
            for values, start in zip(seen, before, strict=True)
        ]
        return torch.cat(wide, dim=1)

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
    first = grids[0]
    height, width = config.grid or (first.height, first.width)
    return Grid(height, width)


def _by_image(features: Features) -> Tensor:
    """(images tokens dim), of images that all have as many."""
    return rearrange(features.values, "(images n) dim -> images n dim", images=len(features.grids))


def _resized(values: Tensor, grid: Grid, common: Grid) -> Tensor:
    """(images tokens dim) of one grid, bilinearly on another; in fp32, since bf16 would round
    what is between two patches."""
    maps = rearrange(values.float(), "images (h w) dim -> images dim h w", h=grid.height)
    size = common.height, common.width
    resized = functional.interpolate(maps, size, mode="bilinear", align_corners=False)
    return rearrange(resized, "images dim h w -> images (h w) dim").to(values.dtype)


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Concat)
