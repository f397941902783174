"""The `model:` section of a run: named parts, any of which may be absent."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.core.contracts import (
    LLM,
    AnyConnector,
    Config,
    Encoder,
    PartConfig,
    Place,
    TextEncoder,
)


class ModelConfig(Config):
    """The parts that are joined. What no stage needs may be left out."""

    encoder: Encoder.Config | None = None
    """The vision encoder."""
    connector: AnyConnector.Config | None = None
    """The connector between the encoder and the LLM."""
    llm: LLM.Config | None = None
    """The language model."""
    text_encoder: TextEncoder.Config | None = None
    """A text tower, for contrastive models."""

    def check(self) -> Iterator[tuple[Place, str]]:
        if self.connector and not (self.encoder and self.llm):
            yield (), "a connector joins an encoder to an llm; give both"

    def parts(self) -> Iterator[tuple[str, PartConfig]]:
        """(name, config) of every part that is there, in the order data flows."""
        for name in type(self).model_fields:
            config = getattr(self, name)
            if config is not None:
                yield name, config
