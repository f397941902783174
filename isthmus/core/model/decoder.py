"""A decoder of the transformers library, run on packs and on batches.

Nothing is assumed of a family: how it may be run is found out by trying (`trial.py`).
"""

from __future__ import annotations

import inspect
import math
from abc import ABC
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.contracts import CausalLLM, Segments
from isthmus.core.model.layout import Layout
from isthmus.core.model.pretrained import label
from isthmus.core.model.ragged import BACKEND
from isthmus.core.model.trial import try_out, try_prefixes
from isthmus.core.model.vocabulary import to_logits
from isthmus.errors import InputError, PartError


class Decoder(CausalLLM, ABC):
    """Runs `model`, a transformers causal LM built with `trial.EAGER` attention."""

    def __init__(
        self,
        config: CausalLLM.Config,
        tokenizer: Any,
        model: Any,
        prefix_attention: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.model = model
        if model.config.is_encoder_decoder or model.base_model is model:
            raise PartError(f"{label(config)}: {self.family} is no plain decoder")
        embedding = model.get_input_embeddings().weight
        self.dim = int(embedding.shape[1])
        takes = inspect.signature(self.body.forward).parameters
        self.takes_positions = "position_ids" in takes
        self.cache_name = "cache" if "cache" in takes else "past_key_values"
        """What transformers calls a cache; the former from 5.24 on."""
        self.ragged = True
        """Whether a pack runs as it is, or as a padded batch; found out by trying."""
        self.decodes = True
        """Whether a left-padded batch, read through a cache, is right; likewise."""
        if not embedding.is_meta:
            try_out(self)
        self.prefix_attention = prefix_attention
        if prefix_attention and not embedding.is_meta:
            try_prefixes(self)

    @property
    def family(self) -> str:
        """Name of the transformers class, for messages."""
        return type(self.model).__name__

    @property
    def hands_down(self) -> bool:
        """Whether further inputs reach every layer, as the ragged backend's segments do."""
        return self.ragged and self.model.config._attn_implementation == BACKEND

    @property
    def body(self) -> Any:
        """The model without its head."""
        return self.model.base_model

    @property
    def decoder_layers(self) -> nn.ModuleList:
        count = self.model.config.num_hidden_layers
        for module in self.body.modules():
            if isinstance(module, nn.ModuleList) and len(module) == count:
                return module
        raise PartError(f"{label(self.config)}: {self.family} does not say where its layers are")

    def attention_layers(self) -> list[tuple[int, int | None]]:
        shape = self.model.config
        heads = shape.num_attention_heads
        width = heads * (getattr(shape, "head_dim", None) or shape.hidden_size // heads)
        count = shape.num_hidden_layers
        kinds = getattr(shape, "layer_types", None) or ["sliding_attention"] * count
        window = getattr(shape, "sliding_window", None)
        return [(width, window if kind == "sliding_attention" else None) for kind in kinds]

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded

    def head(self, hidden: Tensor) -> Tensor:
        return to_logits(self.model.get_output_embeddings()(hidden), self.model.config)

    def forward(
        self,
        embeds: Tensor,
        segments: Segments,
        layer_inputs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        if layer_inputs and not self.hands_down:
            raise PartError(
                f"{label(self.config)}: {self.family} hands its layers no further inputs, so a "
                "connector by cross-attention cannot reach them"
            )
        self._check_length(max(segments.lengths))
        if len(segments.lengths) > 1 and max(segments.lengths) > self._rope_changes_at:
            return self._one_by_one(embeds, segments, layer_inputs or {})
        layout = Layout(segments, embeds.device)
        if self.ragged:
            return self.packed(embeds, layout, layer_inputs)
        return self.padded(embeds, layout)

    def decode(
        self,
        embeds: Tensor,
        mask: Tensor,
        cache: Any | None = None,
        layer_inputs: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, Any]:
        if not self.decodes:
            raise PartError(
                f"{label(self.config)}: {self.family} gives other results through its cache, or "
                "in a left-padded batch, than it should. It can be trained here, but not asked"
            )
        self._check_length(mask.shape[1])
        positions = (mask.long().cumsum(dim=-1) - 1).clamp(min=0)
        more = {self.cache_name: cache, **(layer_inputs or {})}
        if self.prefix_attention and cache is None:
            more["prefix"] = mask
        output = self.run(
            embeds,
            positions[:, -embeds.shape[1] :],
            attention_mask=mask.long(),
            use_cache=True,
            **more,
        )
        return output.last_hidden_state, output[self.cache_name]

    def _one_by_one(
        self, embeds: Tensor, segments: Segments, layer_inputs: Mapping[str, Any]
    ) -> Tensor:
        """`forward` on each text of a pack by itself."""
        hidden: list[Tensor] = []
        for start, length in zip(segments.offsets, segments.lengths, strict=False):
            rows = slice(start, start + length)
            own = {n: v[rows] if isinstance(v, Tensor) else v for n, v in layer_inputs.items()}
            prefix = segments.prefixes and (segments.prefixes[len(hidden)],)
            hidden.append(self(embeds[rows], Segments((length,), prefixes=prefix), own))
        return torch.cat(hidden)

    @cached_property
    def _most_tokens(self) -> int | None:
        """The longest text that may be read: as many tokens as the model looks positions up for
        in a table, or as its dynamic RoPE leaves as they are. (Beyond, how a text is turned
        follows from what was read before it, which no sample of a pack may do.)"""
        words = self.model.get_input_embeddings()
        tables = [m for m in self.body.modules() if isinstance(m, nn.Embedding) and m is not words]
        if tables or self._rope.get("rope_type") == "dynamic":
            return getattr(self.model.config, "max_position_embeddings", None)
        return None

    @property
    def _rope(self) -> Mapping[str, Any]:
        return getattr(self.model.config, "rope_parameters", None) or {}

    @cached_property
    def _rope_changes_at(self) -> float:
        """Tokens beyond which one text of a pack turns the positions of all (long RoPE, Phi-3:
        its factors follow from the longest)."""
        if self._rope.get("rope_type") != "longrope":
            return math.inf
        return float(self._rope["original_max_position_embeddings"])

    def _check_length(self, tokens: int) -> None:
        if self._most_tokens is not None and tokens > self._most_tokens:
            raise InputError(
                f"{label(self.config)}: a text of {tokens} tokens, visual ones included, and "
                f"{self.family} has positions for {self._most_tokens}. Write `max_length: "
                f"{self._most_tokens}` or less, or ask for a shorter answer"
            )

    def run(self, embeds: Tensor, positions: Tensor, **inputs: Any) -> Any:
        """The body's own forward on (batch tokens dim), at positions (batch tokens)."""
        if self.takes_positions:
            inputs["position_ids"] = positions
        return self.body(inputs_embeds=embeds, **inputs)

    def packed(
        self, embeds: Tensor, layout: Layout, layer_inputs: Mapping[str, Any] | None = None
    ) -> Tensor:
        """`forward` on the pack as it is, one sequence whose layers are told its segments."""
        given = (layer_inputs or {}).items()
        more = {name: v[None] if isinstance(v, Tensor) else v for name, v in given}
        output = self.run(
            embeds[None], layout.positions[None], use_cache=False, segments=layout, **more
        )
        hidden: Tensor = output.last_hidden_state
        return hidden[0]

    def padded(self, embeds: Tensor, layout: Layout) -> Tensor:
        """`forward` on a right-padded batch of the pack's samples."""
        index = layout.whole.index
        positions = torch.arange(index.shape[1], device=embeds.device).expand(index.shape)
        lengths = torch.tensor(layout.segments.lengths, device=embeds.device)
        mask = positions < lengths[:, None]
        output = self.run(embeds[index], positions, attention_mask=mask.long(), use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden[mask]
