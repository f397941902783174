"""The vision transformers of the transformers library, run up to the layer that is used.

A family is a subclass of `VisionTower` that names its classes. Layers above the one whose
features are taken, the norm behind them and any head are not kept: nothing computes, stores
or counts them, and what is left is a whole, shorter model (`blueprint` writes it out). A norm of
the features that are used stays (`NormedTower`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from einops import rearrange
from torch import Tensor, nn

from isthmus.core.contracts import Encoder, Features, Grid, Images, Place
from isthmus.core.model.pretrained import (
    TransformersConfig,
    build_scratch,
    label,
    load_published,
    preprocessor,
    published_config,
    scratch_config,
    written_out,
    wrong_shape,
)
from isthmus.core.model.transform import Fit, FitTransform, normalise
from isthmus.errors import PartError

Select = Literal["patch", "cls_patch"]
"""Which features are given on: the patches', or the class token's before them."""

Channels = tuple[float, float, float]
"""One number for red, green and blue."""


class VisionTower(Encoder, ABC):
    """A ViT of transformers. (crops 3 height width) uint8 -> (tokens dim)"""

    model_types: ClassVar[tuple[str, ...]]
    """Values of `model_type` in a config.json that this family can load."""
    prefix: ClassVar[int]
    """Tokens that stand before the patches."""
    mean: ClassVar[Channels]
    """Mean of a pixel in 0-1, where the published model does not say its own."""
    std: ClassVar[Channels]
    """Standard deviation of a pixel in 0-1, likewise."""

    class Config(TransformersConfig, Encoder.Config):
        """Base of a tower's configuration."""

        layer: int = -2
        """Layer whose features are used: -1 the last, -2 the one before it, 3 the third."""
        select: Select = "patch"
        """`patch`, or `cls_patch` for the class token as well."""
        preprocess: Fit = "crop"
        """How a picture is brought to size: `resize` squashes it, `crop` cuts the centre of the
        filled frame, `pad` adds bars in the mean colour."""
        mean: Channels | None = None
        """Mean of a pixel in 0-1, red, green, blue; absent, as the model was trained."""
        std: Channels | None = None
        """Standard deviation of a pixel in 0-1; absent, as the model was trained."""

        def check_shape(self, shape: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
            tower: type[VisionTower] = self.owner  # type: ignore[assignment]
            _, config_class = tower.classes()
            yield from wrong_shape(config_class, shape)

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        if config.select == "cls_patch" and not self.prefix:
            raise PartError(f"{label(config)}: it has no class token; write `select: patch`")
        tower, shape = self._load()
        self.embeddings, self.before, self.blocks, self.norm = self.split(tower)
        self.layers = _shorten(self.blocks, shape.num_hidden_layers, config)
        self.shape = shape
        self.dim = int(shape.hidden_size)
        side = shape.image_size // shape.patch_size
        self.grid = Grid(side, side, self.prefix if config.select == "cls_patch" else 0)
        self.pixel_mean, self.pixel_std = self._statistics()
        red, green, blue = (int(255 * value) for value in self.pixel_mean)
        self.transform = FitTransform(
            size=(shape.image_size, shape.image_size),
            grid=self.grid,
            fit=config.preprocess,
            fill=(red, green, blue),
        )

    @classmethod
    @abstractmethod
    def classes(cls) -> tuple[Any, Any]:
        """transformers' model and configuration class of this family."""

    @staticmethod
    @abstractmethod
    def split(tower: Any) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module | None]:
        """What is kept of transformers' model: embeddings, what follows them, the blocks, and a
        norm of what is used, where the family has learnt one for that."""

    def forward(self, images: Images) -> Features:
        dtype = next(self.embeddings.parameters()).dtype
        pixels = normalise(images.pixels, self.pixel_mean, self.pixel_std, dtype)
        hidden: Tensor = self.blocks(self.before(self.embeddings(pixels))).last_hidden_state
        if self.norm is not None:
            hidden = self.norm(hidden)
        if self.config.select == "patch":
            hidden = hidden[:, self.prefix :]
        return Features(rearrange(hidden, "images tokens dim -> (images tokens) dim"), images.grids)

    @property
    def encoder_layers(self) -> Sequence[nn.Module]:
        return next(
            list(child)
            for child in self.blocks.children()
            if isinstance(child, nn.ModuleList) and len(child) == self.layers
        )

    def blueprint(self) -> Config:
        shape = written_out(self.shape) | {"num_hidden_layers": self.layers}
        return self.config.model_copy(
            update={
                "model": None,
                "config": shape,
                "layer": -1,
                "mean": self.pixel_mean,
                "std": self.pixel_std,
            }
        )

    def _load(self) -> tuple[Any, Any]:
        """transformers' whole model and its configuration."""
        config = self.config
        model_class, config_class = self.classes()
        if config.model is None:
            shape = scratch_config(config, config_class, config.config or {})
            return build_scratch(config, model_class, shape), shape
        said = published_config(config, config.model)
        found = said.get("model_type")
        if found not in self.model_types:
            raise PartError(
                f"{label(config)}: {config.model} is a {found!r} model; this encoder loads "
                f"{' or '.join(self.model_types)}"
            )
        return self.published(config.model, said)

    def published(self, name: str, said: dict[str, Any]) -> tuple[Any, Any]:
        """transformers' model of a hub id or folder, whose config.json is `said`, and its
        configuration."""
        model = load_published(self.config, self.classes()[0], name)
        return model, model.config

    def _statistics(self) -> tuple[Channels, Channels]:
        published = preprocessor(self.config, self.config.model) if self.config.model else {}
        mean = self.config.mean or published.get("image_mean") or self.mean
        std = self.config.std or published.get("image_std") or self.std
        return tuple(mean), tuple(std)


def used_layers(config: Any, count: int) -> int:
    """How many of `count` layers run for `config.layer`; raises PartError out of range."""
    layers = config.layer if config.layer > 0 else count + 1 + config.layer
    if config.layer == 0 or not 1 <= layers <= count:
        raise PartError(
            f"{label(config)}: layer: there is no layer {config.layer}; the model has {count}: "
            f"1 to {count} from the bottom, -1 to {-count} from the top"
        )
    return int(layers)


def _shorten(blocks: nn.Module, count: int, config: Any) -> int:
    layers = used_layers(config, count)
    for name, child in blocks.named_children():
        if isinstance(child, nn.ModuleList) and len(child) == count:
            setattr(blocks, name, child[:layers])
            return layers
    raise PartError(f"{label(config)}: this version of transformers keeps its layers elsewhere")
