"""A language model: embeddings in, hidden states out, and a head.

Training and scoring run on a *pack*: samples laid end to end in one flat sequence, with
`Segments` that say where each begins. Whether that becomes ragged attention or a padded
batch is the LLM's own business; nobody above it sees padding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from isthmus.core.contracts.part import Part, PartConfig


@dataclass(frozen=True)
class Segments:
    """Where each sample of a pack begins and ends: its length, in order.

    Lengths live on the host, so that nothing waits for the device to know them.
    """

    lengths: tuple[int, ...]
    needed: Tensor | None = field(default=None, compare=False)
    """(needed tokens) int64: the tokens whose hidden states will be read; None, all are. An LLM
    may return anything for the others, and need not compute them."""

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Starts, and the end of the last: (samples + 1)."""
        return tuple(accumulate(self.lengths, initial=0))

    def positions(self, device: torch.device) -> Tensor:
        """(tokens) position of each token in its own sample."""
        return torch.cat([torch.arange(length, device=device) for length in self.lengths])


class LLM(Part, nn.Module, ABC):
    """What causal and encoder-decoder models share; write a subclass of one of those.

    A subclass sets `dim`, the width of an embedding, and `tokenizer`, a transformers fast
    tokenizer whose ids `embed` and `head` speak.
    """

    kind: ClassVar[str] = "llm"
    dim: int
    tokenizer: Any

    class Config(PartConfig):
        """Base of an LLM's configuration."""

        @property
        def most_tokens(self) -> int | None:
            """The longest text that it has positions for, visual tokens included; None where it
            has no such bound, or none that is known without the hub."""
            return None

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """(...) int64 -> (... dim)"""

    @abstractmethod
    def head(self, hidden: Tensor) -> Tensor:
        """(... dim) -> (... vocabulary) logits."""

    @property
    @abstractmethod
    def decoder_layers(self) -> nn.ModuleList:
        """The decoder's blocks, for inserted layers, checkpointing, compiling and sharding."""

    def attention_layers(self) -> Sequence[tuple[int, int | None]]:
        """Of each decoder layer: how wide all heads are together, and how many tokens back it
        sees, itself included (None: all of them). FLOPs are counted from it. Override it where
        heads are not as wide together as the model, or where a layer looks back less far.
        """
        return [(self.dim, None)] * len(self.decoder_layers)


class CausalLLM(LLM, ABC):
    """A decoder-only model."""

    @abstractmethod
    def forward(
        self,
        embeds: Tensor,
        segments: Segments,
        layer_inputs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """(tokens dim) -> (tokens dim); no sample attends to another.

        `layer_inputs` reach every decoder layer as keyword arguments. A tensor among them
        (tokens ...) goes with the tokens: a layer gets it as (batch tokens ...), laid out like
        its hidden states. Anything else arrives as it is.
        """

    @abstractmethod
    def decode(
        self,
        embeds: Tensor,
        mask: Tensor,
        cache: Any | None = None,
        layer_inputs: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, Any]:
        """One call of batched generation, prompt or next token.

        `embeds` (batch new dim), left-padded; `mask` (batch seen + new) bool, True where a
        token is real; a tensor among the `layer_inputs` (batch new ...). Returns hidden (batch
        new dim) and the cache for the next call.
        """


class Seq2SeqLLM(LLM, ABC):
    """An encoder-decoder model: visual tokens and prompt enter the encoder."""

    @abstractmethod
    def encode(self, embeds: Tensor, segments: Segments) -> Tensor:
        """(tokens dim) -> memory (tokens dim)"""

    @abstractmethod
    def forward(
        self, memory: Tensor, memory_segments: Segments, embeds: Tensor, segments: Segments
    ) -> Tensor:
        """Decoder embeddings (tokens dim) -> hidden (tokens dim); sample i of the decoder
        looks at sample i of the memory."""

    @abstractmethod
    def decode(
        self, embeds: Tensor, memory: Tensor, memory_mask: Tensor, cache: Any | None = None
    ) -> tuple[Tensor, Any]:
        """One call of batched generation. `embeds` (batch new dim), `memory` (batch tokens
        dim), `memory_mask` (batch tokens) bool. Returns hidden (batch new dim), cache."""
