"""`vit`: a vision transformer from scratch, for contrastive training and SimVLM's prefix LM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from einops import rearrange
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from isthmus import hookimpl
from isthmus.core.contracts import Encoder, Features, Grid, Images, Place
from isthmus.core.model.draw import Init, draw_scaled
from isthmus.core.model.transform import Fit, FitTransform, normalise
from isthmus.core.model.vision_tower import Channels

HALF = (0.5, 0.5, 0.5)


class Vit(Encoder, name="vit"):
    """ViT (Dosovitskiy et al. 2020, arXiv:2010.11929), norms before layers, one behind the last.

    (crops 3 height width) -> (tokens dim). In training it may leave patches out (FLIP, Li et al.
    2022, arXiv:2212.00794) and cut pictures by convolutions (SimVLM, Wang et al. 2021,
    arXiv:2108.10904).
    """

    class Config(Encoder.Config):
        """Configuration of `vit`."""

        image_size: PositiveInt = 224
        """Side of the square that the model looks at, in pixels."""
        patch_size: PositiveInt = 16
        """Side of a patch, in pixels."""
        dim: PositiveInt = 768
        """Width of a feature."""
        depth: PositiveInt = 12
        """Number of blocks."""
        heads: PositiveInt = 12
        """Attention heads of a block."""
        mlp_ratio: float = Field(default=4.0, gt=0)
        """Width of a block's MLP, in widths of a feature."""
        stem: Literal["patch", "conv"] = "patch"
        """What cuts a picture: `patch`, one linear layer for each patch; `conv`, convolutions of
        3 x 3, each halving the side, which let a patch see a little of its neighbours."""
        positions: Literal["learnt", "sincos"] = "learnt"
        """`learnt` places, or fixed waves of row and column (`sincos`)."""
        class_token: bool = False
        """Put a token of its own before the patches, for `pool: cls`."""
        pool: Literal["mean", "cls"] | None = None
        """One feature for a picture: the patches' `mean`, or the class token (`cls`); absent, a
        feature for each patch."""
        drop: float = Field(default=0.0, ge=0, lt=1)
        """Share of the patches left out of every picture in training, drawn anew each time."""
        preprocess: Fit = "resize"
        """How a picture is brought to size: `resize`, `crop` or `pad`."""
        mean: Channels = HALF
        """Mean of a pixel in 0-1, red, green, blue."""
        std: Channels = HALF
        """Standard deviation of a pixel in 0-1."""
        init: Init = "scaled"
        """How weights are drawn: `scaled` at 1/sqrt(dim), `stock` as timm does."""

        def check(self) -> Iterator[tuple[Place, str]]:
            size, dim = self.patch_size, self.dim
            if self.image_size % size:
                yield ("patch_size",), f"patches of {size} pixels do not fill {self.image_size}"
            if dim % self.heads:
                yield ("heads",), f"{self.heads} heads cannot share a width of {dim} evenly"
            if self.stem == "conv" and (size < 2 or size & (size - 1)):
                yield (
                    ("patch_size",),
                    f"convolutions halve a side again and again, to a patch of 2, 4, 8, 16, ... "
                    f"pixels; {size} is none of these. Change it, or write `stem: patch`",
                )
            if self.positions == "sincos" and dim % 4:
                yield ("dim",), f"waves of two directions need a multiple of 4, not {dim}"
            if self.pool == "cls" and not self.class_token:
                yield ("class_token",), "`pool: cls` needs it; write `class_token: true`"
            if self.drop and self.pool is None:
                yield (
                    ("drop",),
                    "a picture of which patches are left out has no feature for each; write "
                    "`pool: mean` or `cls`, or leave it out",
                )

    config: Config

    def __init__(self, config: Config) -> None:
        from timm.models.vision_transformer import Block

        super().__init__()
        self.config, self.dim = config, config.dim
        side = config.image_size // config.patch_size
        self.stem = _stem(config)
        self.class_token = (
            nn.Parameter(torch.randn(self.dim) * self.dim**-0.5) if config.class_token else None
        )
        self.positions = nn.Embedding(side**2, self.dim) if config.positions == "learnt" else None
        if self.positions is None:
            self.register_buffer("waves", waves(side, self.dim), persistent=False)
        self.blocks = nn.ModuleList(
            Block(self.dim, config.heads, config.mlp_ratio, qkv_bias=True)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(self.dim, eps=1e-6)
        self._draw()
        red, green, blue = (int(255 * value) for value in config.mean)
        self.transform = FitTransform(
            size=(config.image_size, config.image_size),
            grid=Grid(1, 1) if config.pool else Grid(side, side),
            fit=config.preprocess,
            fill=(red, green, blue),
        )

    def _draw(self) -> None:
        from timm.models.vision_transformer import init_weights_vit_timm

        if self.config.init == "scaled":
            # One by one: the blocks' depth, not the stem's, is what their output is scaled by.
            draw_scaled(self.stem, self.dim)
            draw_scaled(self.blocks, self.dim)
            return
        self.blocks.apply(init_weights_vit_timm)
        if self.positions is not None:
            nn.init.normal_(self.positions.weight, std=0.02)
        if self.class_token is not None:
            nn.init.normal_(self.class_token, std=1e-6)

    def forward(self, images: Images) -> Features:
        config, dtype = self.config, self.norm.weight.dtype
        maps = self.stem(normalise(images.pixels, config.mean, config.std, dtype))
        tokens = rearrange(maps, "images dim h w -> images (h w) dim")
        tokens = tokens + self._places().to(dtype)
        if self.training and config.drop:
            tokens = _some(tokens, config.drop)
        if self.class_token is not None:
            first = self.class_token.expand(len(tokens), 1, -1)
            tokens = torch.cat([first.to(tokens.dtype), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        if config.pool == "cls":
            return Features(tokens[:, 0], images.grids)
        patches = tokens if self.class_token is None else tokens[:, 1:]
        values = patches.mean(dim=1) if config.pool else patches.flatten(0, 1)
        return Features(values, images.grids)

    def _places(self) -> Tensor:
        return self.get_buffer("waves") if self.positions is None else self.positions.weight

    @property
    def encoder_layers(self) -> Sequence[nn.Module]:
        return list(self.blocks)


def _stem(config: Vit.Config) -> nn.Module:
    """One layer for a patch; or convolutions that halve the side until a patch is a pixel (Xiao et
    al. 2021, arXiv:2106.14881), with norms that know no other picture."""
    if config.stem == "patch":
        return nn.Conv2d(3, config.dim, config.patch_size, stride=config.patch_size)
    halvings = config.patch_size.bit_length() - 1
    widths = [max(1, config.dim >> (halvings - 1 - step)) for step in range(halvings)]
    layers: list[nn.Module] = []
    for before, width in zip((3, *widths), widths, strict=False):
        layers += [
            nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False),
            nn.GroupNorm(1, width),
            nn.GELU(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(config.dim, config.dim, 1))


def waves(side: int, dim: int) -> Tensor:
    """Places of a square of patches, row by row: sine and cosine of the column in the first half
    of the channels, of the row in the second (MAE, He et al. 2021, arXiv:2111.06377)."""
    rates = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], dim=1).float()
    columns = line[None].expand(side, -1, -1)
    rows = line[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], dim=2).flatten(0, 1)


def _some(tokens: Tensor, drop: float) -> Tensor:
    """(images tokens dim) without a share of each image's tokens, at least one left; those that
    stay keep their order."""
    images, count, dim = tokens.shape
    keep = max(1, round(count * (1 - drop)))
    lots = torch.rand(images, count, device=tokens.device)
    stay = lots.argsort(dim=1)[:, :keep].sort(dim=1).values
    return tokens.gather(1, stay[..., None].expand(-1, -1, dim))


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Vit)
