"""An encoder-decoder of the transformers library, run on packs of pairs and on batches.

Nothing is assumed of a family: how it may be run is found out by trying (`pair_trial.py`).
"""

from __future__ import annotations

import inspect
from abc import ABC
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.contracts import Segments, Seq2SeqLLM
from isthmus.core.model.across import Across
from isthmus.core.model.layout import Layout
from isthmus.core.model.pair_trial import try_out
from isthmus.core.model.pretrained import label
from isthmus.core.model.vocabulary import text_ends, to_logits
from isthmus.errors import InputError, PartError


class EncoderDecoder(Seq2SeqLLM, ABC):
    """Runs `model`, a transformers encoder-decoder with a head, built with `trial.EAGER`."""

    def __init__(
        self,
        config: Seq2SeqLLM.Config,
        tokenizer: Any,
        model: Any,
        starts: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.model = model
        if not model.config.is_encoder_decoder:
            raise PartError(f"{label(config)}: {self.family} is no encoder-decoder")
        embedding = model.get_input_embeddings().weight
        self.dim = int(embedding.shape[1])
        self.starts = starts or self._starts()
        self.ends = text_ends(tokenizer)
        takes = inspect.signature(self._decoder.forward).parameters
        self._cache_name = "cache" if "cache" in takes else "past_key_values"
        self.ragged = True
        """Whether pairs run as they are, or as padded batches; found out by trying."""
        if not embedding.is_meta:
            try_out(self)

    @property
    def family(self) -> str:
        """Name of the transformers class, for messages."""
        return type(self.model).__name__

    @property
    def _encoder(self) -> Any:
        return self.model.get_encoder()

    @property
    def _decoder(self) -> Any:
        return self.model.get_decoder()

    @property
    def encoder_layers(self) -> nn.ModuleList:
        return self._layers(self._encoder)

    @property
    def decoder_layers(self) -> nn.ModuleList:
        return self._layers(self._decoder)

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self._encoder.get_input_embeddings()(ids)
        return embedded

    def embed_answer(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self._decoder.get_input_embeddings()(ids)
        return embedded

    def head(self, hidden: Tensor) -> Tensor:
        shape = self.model.config
        if getattr(shape, "scale_decoder_outputs", False):  # T5 whose head was its embeddings
            hidden = hidden * self.dim**-0.5
        logits: Tensor = self.model.get_output_embeddings()(hidden)
        bias = getattr(self.model, "final_logits_bias", None)  # BART
        logits = logits if bias is None else logits + bias[0]
        return to_logits(logits, shape.get_text_config(decoder=True))

    def encode(self, embeds: Tensor, segments: Segments) -> Tensor:
        self._check_length(max(segments.lengths))
        layout = Layout(segments, embeds.device)
        run = self.encode_packed if self.ragged else self.encode_padded
        return run(embeds, layout)

    def forward(
        self, memory: Tensor, memory_segments: Segments, embeds: Tensor, segments: Segments
    ) -> Tensor:
        self._check_length(max(segments.lengths))
        own, seen = (Layout(each, embeds.device) for each in (segments, memory_segments))
        run = self.packed if self.ragged else self.padded
        return run(memory, seen, embeds, own)

    def decode(
        self, embeds: Tensor, memory: Tensor, memory_mask: Tensor, cache: Any | None = None
    ) -> tuple[Tensor, Any]:
        seen = 0 if cache is None else int(cache.get_seq_length())
        self._check_length(seen + embeds.shape[1])
        output = self._decoder(
            inputs_embeds=embeds,
            encoder_hidden_states=memory,
            encoder_attention_mask=memory_mask.long(),
            use_cache=True,
            **{self._cache_name: cache},
        )
        return output.last_hidden_state, output[self._cache_name]

    def encode_packed(self, embeds: Tensor, layout: Layout) -> Tensor:
        """`encode` on the pack as it is, one sequence whose layers are told its segments."""
        hidden: Tensor = self._encoder(inputs_embeds=embeds[None], segments=layout)[0]
        return hidden[0]

    def encode_padded(self, embeds: Tensor, layout: Layout) -> Tensor:
        """`encode` on a right-padded batch of the pack's samples."""
        index, mask = _batch(layout)
        hidden: Tensor = self._encoder(inputs_embeds=embeds[index], attention_mask=mask.long())[0]
        return hidden[mask]

    def packed(self, memory: Tensor, seen: Layout, embeds: Tensor, own: Layout) -> Tensor:
        """`forward` on both packs as they are."""
        hidden: Tensor = self._decoder(
            inputs_embeds=embeds[None],
            encoder_hidden_states=memory[None],
            use_cache=False,
            segments=Across(own, seen),
        )[0]
        return hidden[0]

    def padded(self, memory: Tensor, seen: Layout, embeds: Tensor, own: Layout) -> Tensor:
        """`forward` on right-padded batches of both."""
        index, mask = _batch(own)
        memory_index, memory_mask = _batch(seen)
        hidden: Tensor = self._decoder(
            inputs_embeds=embeds[index],
            attention_mask=mask.long(),
            encoder_hidden_states=memory[memory_index],
            encoder_attention_mask=memory_mask.long(),
            use_cache=False,
        )[0]
        return hidden[mask]

    @property
    def looks_near(self) -> bool:
        """Whether layers see a window alone. A few tokens do not show how they do that in a pack,
        for which these families write a mask as soon as it is longer than the window."""
        shapes = (self._encoder.config, self._decoder.config)
        kinds = [kind for shape in shapes for kind in getattr(shape, "layer_types", None) or ()]
        return "sliding_attention" in kinds

    def _starts(self) -> tuple[int, ...]:
        """What generation begins with: the decoder's start, and what is always said first."""
        said, shape = self.model.generation_config, self.model.config
        own = shape.get_text_config(decoder=True)
        known = (
            said.decoder_start_token_id,
            getattr(shape, "decoder_start_token_id", None),
            getattr(own, "bos_token_id", None),
        )
        first = next((id for id in known if id is not None), None)
        if first is None:
            raise PartError(
                f"{label(self.config)}: {self.family} does not say what its decoder starts from; "
                "write its id, as in `starts: [0]`"
            )
        forced = getattr(said, "forced_bos_token_id", None)
        return (first,) if forced is None else (first, forced)

    def _layers(self, stack: Any) -> nn.ModuleList:
        for child in stack.children():
            if isinstance(child, nn.ModuleList):
                return child
        raise PartError(f"{label(self.config)}: {self.family} does not say where its layers are")

    def _check_length(self, tokens: int) -> None:
        words = self._encoder.get_input_embeddings()
        tables = [
            module
            for name, module in self._encoder.named_children()
            if isinstance(module, nn.Embedding) and module is not words
        ]
        most = getattr(self.model.config, "max_position_embeddings", None) if tables else None
        if most is not None and tokens > most:
            raise InputError(
                f"{label(self.config)}: a source or a target of {tokens} tokens, visual ones "
                f"included, and {self.family} has positions for {most}. Write `max_length: {most}` "
                "or less, or ask for a shorter answer"
            )


def _batch(layout: Layout) -> tuple[Tensor, Tensor]:
    """Places of a pack's tokens in a padded batch, and which are real; (samples longest) each."""
    whole = layout.whole
    real = whole.real
    return whole.index, torch.ones_like(whole.index, dtype=torch.bool) if real is None else real
