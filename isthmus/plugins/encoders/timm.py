"""Any image model of the timm library, transformers and convolutional networks alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from isthmus import hookimpl
from isthmus.core.contracts import Encoder, Features, Grid, Images, Place
from isthmus.core.model.draw import Init, draw_scaled
from isthmus.core.model.transform import Fit, FitTransform, normalise
from isthmus.core.model.vision_tower import Select, used_layers
from isthmus.errors import InputError, PartError, did_you_mean

HUB = "hub"
FILE = "model.safetensors"


class Timm(Encoder, name="timm"):
    """A timm model (github.com/huggingface/pytorch-image-models), run up to the layer used.

    (crops 3 height width) uint8 -> (tokens dim). The features of a convolutional network are
    those of one of its stages, read row by row.
    """

    class Config(Encoder.Config):
        """Configuration of `timm`."""

        model: str
        """timm's name of the model, with or without tag (`vit_small_patch14_dinov2.lvd142m`)."""
        weights: str | None = HUB
        """`hub` for timm's published weights, a .safetensors file, or null to draw them."""
        image_size: int | None = None
        """Side of the square that the model looks at, in pixels; absent, the model's own."""
        options: dict[str, Any] = Field(default_factory=dict)
        """Further arguments of `timm.create_model` (`depth`, `embed_dim`, ...)."""
        layer: int = -2
        """Layer (or stage) whose features are used: -1 the last, -2 the one before it."""
        select: Select = "patch"
        """`patch`, or `cls_patch` for class and register tokens as well."""
        preprocess: Fit | None = None
        """`resize`, `crop` or `pad`; absent, as the model was trained."""
        init: Init = "scaled"
        """How weights are drawn: `scaled` by the model's width, `stock` as timm does."""

        @property
        def pretrained(self) -> str | None:
            return f"timm/{self.model}" if self.weights == HUB else self.weights

        def check(self) -> Iterator[tuple[Place, str]]:
            import timm

            if not timm.is_model(self.model):
                near = did_you_mean(self.model.split(".")[0], timm.list_models())
                why = f"timm has no model {self.model!r}.{near}"
                yield ("model",), f"{why} `timm.list_models()` gives their names"

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model, data = _create(config)
        self.model.eval()
        self.index = used_layers(config, len(self.model.feature_info)) - 1
        self.model.prune_intermediate_layers([self.index], prune_norm=True, prune_head=True)
        takes = inspect.signature(self.model.forward_intermediates).parameters
        self.has_prefix = "return_prefix_tokens" in takes and self.model.num_prefix_tokens > 0
        if config.select == "cls_patch" and not self.has_prefix:
            raise PartError(
                f"encoder timm: {config.model} has no class token; write `select: patch`"
            )
        self.mean, self.std = data["mean"], data["std"]
        _, height, width = data["input_size"]
        with torch.no_grad():  # one look, in eval mode, to learn the shapes
            spatial, prefix = self._run(torch.zeros(1, 3, height, width))
        self.model.train()
        self.dim = spatial.shape[1]
        grid = Grid(spatial.shape[2], spatial.shape[3], 0 if prefix is None else prefix.shape[1])
        squashed = data["crop_mode"] == "squash"
        red, green, blue = (int(255 * value) for value in self.mean)
        self.transform = FitTransform(
            size=(height, width),
            grid=grid,
            fit=config.preprocess or ("resize" if squashed else "crop"),
            fill=(red, green, blue),
            resample=Image.Resampling[data["interpolation"].upper()],
            zoom=1.0 if squashed else data["crop_pct"],
        )

    def forward(self, images: Images) -> Features:
        dtype = next(self.model.parameters()).dtype
        spatial, prefix = self._run(normalise(images.pixels, self.mean, self.std, dtype))
        tokens = rearrange(spatial, "images dim high wide -> images (high wide) dim")
        if prefix is not None:
            tokens = torch.cat([prefix, tokens], dim=1)
        return Features(rearrange(tokens, "images tokens dim -> (images tokens) dim"), images.grids)

    @property
    def encoder_layers(self) -> Sequence[nn.Module]:
        return list(getattr(self.model, "blocks", ()))  # of transformers; others are kept whole

    def blueprint(self) -> Config:
        return self.config.model_copy(update={"weights": None})

    def _run(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Patches (images dim high wide), and what stands before them if that is wanted."""
        wanted = {"return_prefix_tokens": True} if self.has_prefix else {}
        (found,) = self.model.forward_intermediates(
            pixels,
            indices=[self.index],
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
            **wanted,
        )
        spatial, prefix = found if self.has_prefix else (found, None)
        return spatial, prefix if self.config.select == "cls_patch" else None


def _create(config: Timm.Config) -> tuple[Any, dict[str, Any]]:
    """timm's model, and how it wants its pictures."""
    import timm

    options = dict(config.options)
    try:
        published = timm.get_pretrained_cfg(config.model)
    except RuntimeError as error:
        tags = timm.list_pretrained(config.model.split(".")[0] + ".*")
        raise PartError(f"encoder timm: {error} There are: {', '.join(tags)}") from error
    if config.image_size and published is not None and published.fixed_input_size:
        options["img_size"] = config.image_size
    weights = _weights(config, published) if config.weights else None
    model = _build(config, options, weights)
    if not hasattr(model, "prune_intermediate_layers"):
        raise PartError(f"encoder timm: {config.model} gives no features of its inner layers")
    if not config.weights and config.init == "scaled":
        widths = {layer["num_chs"] for layer in model.feature_info}
        draw_scaled(model, widths.pop() if len(widths) == 1 else None)
    size = options.get("img_size", config.image_size)
    wanted = {"img_size": size} if size else {}
    return model, timm.data.resolve_data_config(wanted, model=model)


def _build(config: Timm.Config, options: dict[str, Any], weights: dict[str, Tensor] | None) -> Any:
    import timm

    if weights is not None:
        overlay = {"state_dict": weights}
        options = {**options, "pretrained": True, "pretrained_cfg_overlay": overlay}
    try:
        model = timm.create_model(config.model, num_classes=0, **options)
        if weights is None:
            return model
        again = timm.create_model(config.model, num_classes=0, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PartError(f"encoder timm: {config.model} could not be built: {error}") from error
    # timm passes over weights that a file lacks. What was drawn instead differs the second time.
    drawn = [
        name
        for (name, one), other in zip(model.named_parameters(), again.parameters(), strict=True)
        if not torch.equal(one, other)
    ]
    if drawn:
        raise PartError(
            f"encoder timm: weights: {config.weights} lacks {len(drawn)} of {config.model}'s "
            f"weights ({', '.join(drawn[:3])}, ...); they would have been random"
        )
    return model


def _weights(config: Timm.Config, published: Any) -> dict[str, Tensor]:
    """Published weights by name, from the hub or a file."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError
    from safetensors.torch import load_file

    if config.weights != HUB:
        path = Path(str(config.weights)).expanduser()
        if not path.is_file() or path.suffix != ".safetensors":
            raise InputError(f"encoder timm: weights: there is no .safetensors file {path}")
        return load_file(path)
    source = getattr(published, "hf_hub_id", None)
    if source is None:
        raise InputError(
            f"encoder timm: {config.model} has no published weights; write `weights: null` to "
            "draw them, or give a .safetensors file"
        )
    try:
        return load_file(hf_hub_download(source, FILE))
    except (EntryNotFoundError, OSError) as error:
        raise InputError(
            f"encoder timm: {FILE} of {config.model} could not be had from the hub ({source}): "
            f"{str(error).splitlines()[0]} Give `weights:` a .safetensors file, or null for none"
        ) from error


@hookimpl
def register_encoders(register: Callable[[type], None]) -> None:
    register(Timm)
