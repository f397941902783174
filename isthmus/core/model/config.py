"""The `model:` section of a run: named parts, any of which may be absent."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.core.contracts import (
    LLM,
    AnyConnector,
    CausalLLM,
    Config,
    CrossAttentionConnector,
    Encoder,
    Grid,
    PartConfig,
    Place,
    Seq2SeqLLM,
    TextEncoder,
)


class ModelConfig(Config):
    """The parts that are joined. What no stage needs may be left out."""

    encoder: Encoder.Config | None = None
    """The vision encoder."""
    connector: AnyConnector.Config | None = None
    """The connector between the encoder and the LLM; an LLM that looks by itself has none."""
    llm: LLM.Config | None = None
    """The language model."""
    text_encoder: TextEncoder.Config | None = None
    """A text tower, for models that compare pictures and texts."""

    def check(self) -> Iterator[tuple[Place, str]]:
        if self.connector and not self.encoder:
            yield (), "a connector joins an encoder to an llm; give both"
        if self.connector and not (self.llm or _owner(self.connector).stands_alone):
            yield (
                (),
                "a connector joins an encoder to an llm; give both. (Without an llm, "
                f"{self.connector.owner.name!r} has nothing to lead to; `qformer` can learn alone)",
            )
        if self.connector and self.llm:
            yield from _impossible(self.connector, self.llm)

    def parts(self) -> Iterator[tuple[str, PartConfig]]:
        """(name, config) of every part that is there, in the order data flows."""
        for name in type(self).model_fields:
            config = getattr(self, name)
            if config is not None:
                yield name, config


def _owner(connector: AnyConnector.Config) -> type[AnyConnector]:
    owner: type[AnyConnector] = connector.owner  # type: ignore[assignment]
    return owner


def _impossible(connector: AnyConnector.Config, llm: LLM.Config) -> Iterator[tuple[Place, str]]:
    """Why these two cannot be joined."""
    name = connector.owner.name
    if issubclass(llm.owner, CausalLLM) and llm.owner.looks:
        yield (
            ("connector",),
            f"the llm {llm.owner.name!r} looks at the encoder's features by itself; leave it out",
        )
        return
    enters = issubclass(connector.owner, CrossAttentionConnector)
    if enters and issubclass(llm.owner, Seq2SeqLLM):
        yield (
            ("connector",),
            f"{name} enters the layers of a decoder, and the llm {llm.owner.name!r} has an encoder "
            "that reads before it; take `llm: causal`, or a connector that gives visual tokens, "
            "like `qformer`, `resampler` or `mlp`",
        )
    tokens, most = connector.num_tokens((Grid(1, 1),)), llm.most_tokens
    if most is not None and tokens >= most:
        yield (
            ("connector",),
            f"an image becomes {tokens} visual tokens, and the llm has positions for {most}, which "
            f"leaves none for words; let {name} give fewer, or take an llm with more "
            "(`max_position_embeddings`)",
        )
