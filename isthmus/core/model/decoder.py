"""A decoder of the transformers library, run on packs and on batches.

Families differ in what they hand down to their layers, and what they drop they drop silently.
So nothing is assumed of a family: a freshly built model is tried out on a handful of tokens,
each way of running it beside the plainest one, and what gives other results is not used.
"""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.contracts import CausalLLM, Segments
from isthmus.core.model.layout import Layout
from isthmus.core.model.pretrained import label, quiet
from isthmus.core.model.ragged import BACKEND, register
from isthmus.errors import PartError

EAGER = "eager"
"""The attention that every family computes right: models are built with it, and what is faster
must first agree with it."""
TRIAL = Segments((6, 4))
TOLERANCE = 1e-4
"""Largest relative difference in fp32 that rounding explains; a leak between samples makes one
a thousand times larger."""


class Decoder(CausalLLM, ABC):
    """Runs `model`, a transformers causal LM built with EAGER attention."""

    def __init__(self, config: CausalLLM.Config, tokenizer: Any, model: Any) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.model = model
        if model.config.is_encoder_decoder or model.base_model is model:
            raise PartError(f"{label(config)}: {self.family} is no plain decoder")
        embedding = model.get_input_embeddings().weight
        self.dim = int(embedding.shape[1])
        self.takes_positions = "position_ids" in inspect.signature(self.body.forward).parameters
        self.ragged = True
        """Whether a pack runs as it is, or as a padded batch; found out by trying."""
        self.decodes = True
        """Whether a left-padded batch, read through a cache, is right; likewise."""
        if not embedding.is_meta:
            self._try_out()

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

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.model.get_input_embeddings()(ids)
        return embedded

    def head(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.model.get_output_embeddings()(hidden)
        shape = self.model.config
        if scale := getattr(shape, "logits_scaling", None):  # Granite
            logits = logits / scale
        if scale := getattr(shape, "logit_scale", None):  # Cohere
            logits = logits * scale
        if cap := getattr(shape, "final_logit_softcapping", None):  # Gemma
            logits = cap * torch.tanh(logits / cap)
        return logits

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
        layout = Layout(segments, embeds.device)
        if self.ragged:
            return self._packed(embeds, layout, layer_inputs)
        return self._padded(embeds, layout)

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
        positions = (mask.long().cumsum(dim=-1) - 1).clamp(min=0)
        output = self._run(
            embeds,
            positions[:, -embeds.shape[1] :],
            attention_mask=mask.long(),
            past_key_values=cache,
            use_cache=True,
            **(layer_inputs or {}),
        )
        return output.last_hidden_state, output.past_key_values

    def _run(self, embeds: Tensor, positions: Tensor, **inputs: Any) -> Any:
        if self.takes_positions:
            inputs["position_ids"] = positions
        return self.body(inputs_embeds=embeds, **inputs)

    def _packed(
        self, embeds: Tensor, layout: Layout, layer_inputs: Mapping[str, Any] | None = None
    ) -> Tensor:
        more = {**(layer_inputs or {}), "segments": layout}
        output = self._run(embeds[None], layout.positions[None], use_cache=False, **more)
        hidden: Tensor = output.last_hidden_state
        return hidden[0]

    def _padded(self, embeds: Tensor, layout: Layout) -> Tensor:
        index = layout.whole.index
        positions = torch.arange(index.shape[1], device=embeds.device).expand(index.shape)
        lengths = torch.tensor(layout.segments.lengths, device=embeds.device)
        mask = positions < lengths[:, None]
        output = self._run(embeds[index], positions, attention_mask=mask.long(), use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden[mask]

    @torch.no_grad()
    def _try_out(self) -> None:
        """Choose how packs and batches are run; refuse a model that runs right in no way."""
        training = self.training
        self.eval()
        ids = (torch.arange(TRIAL.offsets[-1]) * 7 + 3) % self.model.config.vocab_size
        pack, layout = self.embed(ids), Layout(TRIAL, ids.device)
        texts = list(torch.split(pack, list(TRIAL.lengths)))
        with quiet():
            wanted, logits = self._alone(texts)
            if not alike(lambda: self.head(wanted), logits):
                raise PartError(f"{label(self.config)}: {self.family}'s head does more than known")
            self.ragged = alike(partial(self._by, register(), self._packed, pack, layout), wanted)
            padded = (partial(self._by, way, self._padded, pack, layout) for way in ("sdpa", EAGER))
            if not self.ragged and not any(alike(run, wanted) for run in padded):
                raise PartError(
                    f"{label(self.config)}: {self.family} gives other results in a batch than alone"
                )
            last = torch.tensor(TRIAL.offsets[1:]) - 1
            self.decodes = alike(lambda: self._left_padded(texts), wanted[last])
        self.train(training)

    def _alone(self, texts: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Hidden states and logits of texts run one by one, by the model's own forward."""
        hidden, logits = [], []
        try:
            for text in texts:
                positions = torch.arange(len(text), device=text.device)[None]
                hidden.append(self._run(text[None], positions, use_cache=False).last_hidden_state)
                logits.append(self.model(inputs_embeds=text[None], use_cache=False).logits)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise PartError(f"{label(self.config)}: {self.family} does not run: {error}") from error
        return torch.cat(hidden, dim=1)[0], torch.cat(logits, dim=1)[0]

    def _by(
        self, attention: str, run: Callable[[Tensor, Layout], Tensor], pack: Tensor, layout: Layout
    ) -> Tensor:
        self.model.set_attn_implementation(attention)
        return run(pack, layout)

    def _left_padded(self, texts: list[Tensor]) -> Tensor:
        """The last hidden state of each, its last token being read through the cache."""
        longest = max(len(text) for text in texts)
        mask = torch.stack([torch.arange(longest) >= longest - len(text) for text in texts])
        batch = torch.zeros(len(texts), longest, self.dim, dtype=texts[0].dtype)
        batch[mask] = torch.cat(texts)
        _, cache = self.decode(batch[:, :-1], mask[:, :-1])
        return self.decode(batch[:, -1:], mask, cache)[0][:, 0]


def alike(run: Callable[[], Tensor], wanted: Tensor) -> bool:
    """Whether `run` gives what is wanted. Families that cannot do it raise whatever they like."""
    try:
        found = run()
    except Exception:
        return False
    if found.shape != wanted.shape:
        return False
    difference = torch.linalg.vector_norm((found - wanted).float())
    return bool(difference <= TOLERANCE * torch.linalg.vector_norm(wanted.float()))
