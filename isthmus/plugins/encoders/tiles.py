"""`tiles` around any encoder: a picture is looked at whole, and again in tiles at full size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from PIL import Image
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from isthmus import hookimpl
from isthmus.core.contracts import Encoder, Features, Grid, Grids, Images, ImageTransform, Place
from isthmus.errors import PartError

Size = tuple[int, int]


@dataclass(frozen=True)
class TilesTransform(ImageTransform):
    """One picture -> the whole of it squashed into the frame, then its tiles, row by row.

    `inner` prepares each, `frame_size` is its (height, width) and `base` the grid of one.
    """

    inner: ImageTransform
    frame_size: Size
    base: Grid
    layouts: tuple[Size, ...]
    newline: bool

    def __call__(self, image: Image.Image) -> Tensor:
        rows, columns = self._choose(image.size)
        high, wide = self.frame_size
        canvas = Image.new("RGB", (columns * wide, rows * high))
        width, height = _fitted(image.size, canvas.size)
        place = (canvas.width - width) // 2, (canvas.height - height) // 2
        canvas.paste(image.resize((width, height), Image.Resampling.BICUBIC), place)
        pieces = [image]
        for top in range(0, canvas.height, high):
            for left in range(0, canvas.width, wide):
                pieces.append(canvas.crop((left, top, left + wide, top + high)))
        return torch.cat([self.inner(piece) for piece in pieces])

    def grids(self, size: Size) -> Grids:
        rows, columns = self._choose(size)
        height, width = _unpadded(size, rows * self.base.height, columns * self.base.width)
        return self.base, Grid(height, width, newline=self.newline, tiles=(rows, columns))

    def _choose(self, size: Size) -> Size:
        """Rows and columns that keep most of the picture's pixels, then the fewest; the first
        of those that are alike."""

        def worth(layout: Size) -> tuple[int, int]:
            high, wide = (n * side for n, side in zip(layout, self.frame_size, strict=True))
            scale = min(wide / size[0], high / size[1])
            kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
            return kept, kept - high * wide

        return max(self.layouts, key=worth)


class Tiles(Encoder, name="tiles"):
    """Any-resolution tiles of LLaVA-NeXT (Liu et al. 2024). (crops 3 height width) -> (tokens dim)

    An image's features are those of the whole picture, then those of its tiles as one map, which
    is cut to the picture's shape. Rows of that map end with a newline, which the connector adds.
    """

    class Config(Encoder.Config):
        """Configuration of `tiles`."""

        encoder: Encoder.Config
        """The encoder that looks at the whole picture and at every tile."""
        layouts: tuple[tuple[PositiveInt, PositiveInt], ...] = Field(
            default=((1, 2), (2, 1), (2, 2), (3, 1), (1, 3)), min_length=1
        )
        """Rows and columns of tiles to choose from, by the picture's shape and size: LLaVA-NeXT's
        `image_grid_pinpoints` (height, width), divided by the side of the encoder's frame."""
        newline: bool = True
        """Ask the connector to end every row of the tiles' map with a learnt token."""

        @property
        def maps(self) -> int:
            return 2

        @property
        def pretrained(self) -> str | None:
            return self.encoder.pretrained

        @property
        def all_pretrained(self) -> bool:
            return self.encoder.all_pretrained

        def check(self) -> Iterator[tuple[Place, str]]:
            if self.encoder.maps != 1:
                yield (
                    ("encoder",),
                    f"{self.encoder.owner.name} gives {self.encoder.maps} maps of a picture, and "
                    "tiles are put together from encoders that give one; write `concat` with "
                    "`by: channel`, or an encoder that is not built around another",
                )

    config: Config
    transform: TilesTransform

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder: Encoder = config.encoder.build()
        self.dim = self.encoder.dim
        inner = self.encoder.transform.squashed()
        if inner.frame is None:
            raise PartError(
                f"encoder tiles: encoder: {config.encoder.owner.name} takes pictures of any size, "
                "so that there is nothing to cut; write it without `tiles`"
            )
        high, wide = inner.frame
        (base,) = inner.grids((wide, high))
        self.crops = len(inner(Image.new("RGB", (wide, high))))
        self.transform = TilesTransform(inner, inner.frame, base, config.layouts, config.newline)

    def forward(self, images: Images) -> Features:
        base = self.transform.base
        pieces = [1 + math.prod(tiled.tiles) for _, tiled in images.grids]
        each = Images(images.pixels, (self.crops,) * sum(pieces), ((base,),) * sum(pieces))
        seen: Features = self.encoder(each)
        maps = rearrange(seen.values, "(maps tokens) dim -> maps tokens dim", maps=sum(pieces))
        values: list[Tensor] = []
        for run, (_, tiled) in zip(torch.split(maps, pieces), images.grids, strict=True):
            values += [run[0], self._joined(run[1:, base.prefix :], tiled)]
        return Features(torch.cat(values), images.grids)

    def _joined(self, tiles: Tensor, grid: Grid) -> Tensor:
        """(tiles patches dim), one map of them, cut to the picture's shape -> (tokens dim)"""
        rows, columns = grid.tiles
        base = self.transform.base
        whole = rearrange(
            tiles, "(r c) (h w) dim -> (r h) (c w) dim", r=rows, c=columns, h=base.height
        )
        top, left = (len(whole) - grid.height) // 2, (whole.shape[1] - grid.width) // 2
        cut = whole[top : top + grid.height, left : left + grid.width]
        return cut.flatten(0, 1)

    @property
    def encoder_layers(self) -> Sequence[nn.Module]:
        return self.encoder.encoder_layers

    def blueprint(self) -> Config:
        return self.config.model_copy(update={"encoder": self.encoder.blueprint()})


def _fitted(size: Size, canvas: Size) -> Size:
    """(width, height) of a picture that fills the canvas in one direction and stays inside it."""
    width, height = size
    wide, high = canvas
    if wide / width < high / height:
        return wide, min(math.ceil(height * (wide / width)), high)
    return min(math.ceil(width * (high / height)), wide), high


def _unpadded(size: Size, height: int, width: int) -> Size:
    """(height, width) of what a picture of `size` (width, height) covers of a map of patches.
    As much is cut off on both sides; of a picture far too long, nothing is left."""
    if size[0] / size[1] > width / height:
        kept = int(round(size[1] * (width / size[0]), 7))
        return height - (height - kept) // 2 * 2, width
    kept = int(round(size[0] * (height / size[1]), 7))
    return height, width - (width - kept) // 2 * 2


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Tiles)
