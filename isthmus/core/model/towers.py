"""Two towers that meet: pictures and texts as vectors of one space, each by its own encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import PositiveInt
from torch import Tensor, nn

from isthmus.core.contracts import ConnectorText, Images, Objective
from isthmus.core.model.contrast import unit
from isthmus.core.model.draw import draw_scaled
from isthmus.core.model.pooling import ImagePool, Pool
from isthmus.core.model.published_heads import load_published_heads
from isthmus.errors import PartError

EPS = {"cls": 1e-5, "mean": 1e-5, "attention": 1e-6}
"""What the norm adds to a variance, as CLIP and SigLIP have it."""
HEAD = 64
"""Width of an attention head of the probe, where their number is not given."""


class TwoTowersConfig(Objective.Config):
    """What objectives that compare an encoder with a text encoder have in common."""

    dim: PositiveInt | None = 512
    """Width of the space in which pictures and texts are compared; null maps nothing, and the two
    encoders must be equally wide."""
    pool: Pool = "mean"
    """What a picture is: the `mean` of its features; the first one (`cls`), for an encoder with
    `select: cls_patch`; or what a learned probe finds in them (`attention`, SigLIP)."""
    heads: PositiveInt | None = None
    """Attention heads of the probe; absent, one for each 64 numbers of a feature."""
    hidden: PositiveInt | None = None
    """Width inside the probe's feed-forward layer; absent, four features wide."""
    model: str | None = None
    """Hub id or folder of a published model of this family, whose ends to begin with: the norm and
    what stands behind it, temperature and bias. Both encoders are to be taken from it, too."""


class Towers(nn.Module):
    """Maps behind a model's encoder and text encoder. Raises PartError where they cannot meet."""

    def __init__(self, config: TwoTowersConfig, model: Any) -> None:
        super().__init__()
        name, encoder, reader = config.owner.name, model.encoder, model.text_encoder
        if encoder is None or reader is None:
            raise PartError(f"objective {name}: it compares an `encoder` with a `text_encoder`")
        if config.dim is None and encoder.dim != reader.pooled_dim:
            raise PartError(
                f"objective {name}: dim: a picture is {encoder.dim} wide and a text "
                f"{reader.pooled_dim}; write a width to map both to"
            )
        grids = encoder.transform.grids((64, 64))
        if config.pool == "cls" and not grids[0].prefix and grids[0].num_features > 1:
            raise PartError(
                f"objective {name}: pool: encoder {encoder.name!r} gives no class token, and the "
                "first feature is a patch; write `select: cls_patch` there, or `pool: mean` here"
            )
        self.heads = config.heads or max(1, encoder.dim // HEAD)
        if config.pool == "attention" and encoder.dim % self.heads:
            raise PartError(
                f"objective {name}: heads: {self.heads} cannot share {encoder.dim} numbers; write "
                "a divisor"
            )
        self.hidden = config.hidden or 4 * encoder.dim
        self.image = ImagePool(
            config.pool, encoder.dim, config.dim, self.heads, self.hidden, EPS[config.pool]
        )
        self.text: nn.Module = nn.Identity()
        if config.dim is not None:
            self.text = nn.Linear(reader.pooled_dim, config.dim, bias=False)
        draw_scaled(self)

    def pictures(self, model: Any, images: Images) -> Tensor:
        """-> (images dim), of length one each."""
        return unit(self.image(model.encode(images)))

    def texts(self, model: Any, text: ConnectorText) -> Tensor:
        """-> (texts dim), of length one each."""
        read = model.text_encoder.pooled(text.ids, text.mask)
        weights = next(iter(self.text.parameters()), read)
        return unit(self.text(read.to(weights.dtype)))

    def forward(self, model: Any, images: Images, text: ConnectorText) -> tuple[Tensor, Tensor]:
        """-> pictures and texts, (matches dim) of length one each."""
        return self.pictures(model, images), self.texts(model, text)


class TwoTowers(Objective, ABC):
    """An objective that compares pictures with texts; a subclass has a `scale`."""

    needs: ClassVar[frozenset[str]] = frozenset({"encoder", "text_encoder"})
    accumulates: ClassVar[bool] = False

    config: TwoTowersConfig

    def join(self, model: Any) -> None:
        self.towers = Towers(self.config, model)
        self.make()
        if self.config.model is not None:
            load_published_heads(self, model.encoder)

    @abstractmethod
    def make(self) -> None:
        """Make the weights of its own beside the towers."""
