"""Small parts with every sort of field, for tests that load and print configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from isthmus import hookimpl
from isthmus.core.contracts import Config, Connector, DataPath, Encoder, Source, Tuner


class Eye(Encoder, name="eye"):
    """An encoder that sees nothing."""

    class Config(Encoder.Config):
        layer: int = -2
        """Layer whose features are used."""
        size: int | Literal["auto"] = "auto"
        """Side of the picture."""
        model: str | None = None
        """Hub id."""

    def forward(self, images: Any) -> Any: ...


class Tiles(Encoder, name="tiles"):
    """An encoder around another one."""

    class Config(Encoder.Config):
        inner: Encoder.Config
        """The encoder of each tile."""
        layer: int = -1
        """Layer whose features are used."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, images: Any) -> Any: ...


class Bridge(Connector, name="bridge"):
    """A connector with a build argument that has a default."""

    class Config(Connector.Config):
        depth: int = Field(default=2, ge=1)
        """Number of layers."""

    def __init__(self, config: Config, dim_in: int, dim_out: int, dropout: float = 0.0) -> None:
        super().__init__(config, dim_in, dim_out)
        self.dropout = dropout

    def forward(self, features: Any) -> Any: ...


class Plank(Connector, name="plank"):
    """A connector without settings."""

    def forward(self, features: Any) -> Any: ...


class Crop(Config):
    """A section nested in a list."""

    width: int
    """Pixels."""
    keep: bool = True
    """Whether the rest is kept."""


class Shelf(Source, name="shelf"):
    """A source of files."""

    class Config(Source.Config):
        file: DataPath
        """Records."""
        images: DataPath | None = None
        """Folder of pictures."""
        crops: tuple[Crop, ...] = ()
        """Cuts of each picture."""
        tags: dict[str, str] = Field(default_factory=dict)
        """Free words."""

    fingerprint = ""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Any: ...


class Whole(Tuner, name="whole"):
    """A tuner that trains everything."""

    def apply(self, part: Any) -> None: ...

    def groups(self, part: Any) -> Any: ...


Register = Callable[[type], None]


@hookimpl
def register_encoders(register: Register) -> None:
    register(Eye)
    register(Tiles)


@hookimpl
def register_connectors(register: Register) -> None:
    register(Bridge)
    register(Plank)


@hookimpl
def register_sources(register: Register) -> None:
    register(Shelf)


@hookimpl
def register_tuners(register: Register) -> None:
    register(Whole)
