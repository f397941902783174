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
    prefixes: tuple[int, ...] | None = field(default=None, compare=False)
    """Of each sample, how many of its first tokens are its prefix, before anything is learnt;
    None, nobody said. Only prefix attention asks for it."""

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

        @property
        def sees_both_ways(self) -> bool:
            """Whether what comes before an answer, image and prompt, sees all of itself."""
            return False

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """(...) int64 -> (... dim)"""

    @abstractmethod
    def head(self, hidden: Tensor) -> Tensor:
        """(... dim) -> (... vocabulary) logits."""

    @property
    @abstractmethod
    def decoder_layers(self) -> nn.ModuleList:
        """The decoder's blocks, for inserted layers, and for what is counted by layers."""

    @property
    def stacks(self) -> Sequence[nn.ModuleList]:
        """All blocks, one list for each stack of like ones, in the order in which they run: what
        is recomputed, compiled, sharded and adapted."""
        return [self.decoder_layers]

    def attention_layers(self) -> Sequence[tuple[int, int | None]]:
        """Of each decoder layer: how wide all heads are together, and how many tokens back it
        sees, itself included (None: all of them). FLOPs are counted from it. Override it where
        heads are not as wide together as the model, or where a layer looks back less far.
        """
        return [(self.dim, None)] * len(self.decoder_layers)


class CausalLLM(LLM, ABC):
    """A decoder-only model.

    With `prefix_attention` it looks both ways over what comes before the first answer (image and
    prompt), and back over the rest. It is then given `Segments.prefixes`, and else none.
    """

    prefix_attention: bool = False
    looks: ClassVar[bool] = False
    """Whether it looks at pictures by layers of its own. There is then no connector: it is built
    with the encoder's width, `visual_dim`, and given the encoder's features, under the names that a
    connector by cross-attention gives its states by; every token of a sample sees its images."""

    @abstractmethod
    def forward(
        self,
        embeds: Tensor,
        segments: Segments,
        layer_inputs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """(tokens dim) -> (tokens dim); no sample attends to another. Where there are
        `segments.prefixes`, tokens of a prefix see all of it.

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
        new dim) and the cache for the next call. With `prefix_attention`, what comes without a
        cache is the prompt, and all of it the prefix.
        """


class Seq2SeqLLM(LLM, ABC):
    """An encoder-decoder model: visual tokens and prompt enter the encoder, the decoder answers.

    `embed` is what the encoder reads. `starts` are the ids that every answer of the decoder
    follows on, at least one, and `ends` those that a source ends with, in both training and
    generation.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...] = ()

    class Config(LLM.Config):
        """Base of an encoder-decoder's configuration."""

        @property
        def sees_both_ways(self) -> bool:
            return True

    @abstractmethod
    def embed_answer(self, ids: Tensor) -> Tensor:
        """What the decoder reads, by a table that may be another one. (...) int64 -> (... dim)"""

    @property
    @abstractmethod
    def encoder_layers(self) -> nn.ModuleList:
        """The encoder's blocks."""

    @property
    def stacks(self) -> Sequence[nn.ModuleList]:
        return [self.encoder_layers, self.decoder_layers]

    @abstractmethod
    def encode(self, embeds: Tensor, segments: Segments) -> Tensor:
        """(tokens dim) -> memory (tokens dim); each sees all of its own sample, and no other."""

    @abstractmethod
    def forward(
        self, memory: Tensor, memory_segments: Segments, embeds: Tensor, segments: Segments
    ) -> Tensor:
        """Decoder embeddings (tokens dim) -> hidden (tokens dim); sample i of the decoder
        looks at sample i of the memory, which may be of another length."""

    @abstractmethod
    def decode(
        self, embeds: Tensor, memory: Tensor, memory_mask: Tensor, cache: Any | None = None
    ) -> tuple[Tensor, Any]:
        """One call of batched generation: `starts`, or a next token, of every answer.

        `embeds` (batch new dim), of which no answer has more than another; `memory` (batch
        tokens dim), padded anywhere; `memory_mask` (batch tokens) bool, True where one is real.
        Returns hidden (batch new dim), and the cache for the next call, which keeps what is to
        be kept of the memory.
        """
