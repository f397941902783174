"""The model: one root module of named parts, any of which may be absent.

Arithmetic is decided outside: whoever trains or generates opens autocast, and stores each part
in the dtype it wants. Where one part meets the next, values are cast to what the next is stored
in, so that a frozen part may be kept in bf16 beside a trained one in fp32.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from isthmus.core.contracts import (
    LLM,
    AnyConnector,
    CausalLLM,
    ConnectorText,
    CrossAttentionConnector,
    CrossAttentionStates,
    Encoder,
    Features,
    FeatureStore,
    Grids,
    Images,
    Pack,
    Pairs,
    QueryConnector,
    Seq2SeqLLM,
    Template,
    TextEncoder,
    TokenCount,
    Tools,
)
from isthmus.core.model.batches import of_pack, of_pairs
from isthmus.core.model.draw import drawn_from
from isthmus.core.model.features import encode_once
from isthmus.errors import PartError


class VisionLanguageModel(nn.Module):
    """Encoder, connector, LLM and text encoder under their names."""

    def __init__(
        self,
        encoder: Encoder | None = None,
        connector: AnyConnector | None = None,
        llm: LLM | None = None,
        text_encoder: TextEncoder | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.connector = connector
        self.llm = llm
        self.text_encoder = text_encoder
        self.store: FeatureStore | None = None
        """Where the features of a frozen encoder are kept."""
        self._hooks: list[RemovableHandle] = []
        self._attach()

    def parts(self) -> dict[str, nn.Module]:
        """Name -> part, of those that are there, in the order data flows."""
        named = {
            "encoder": self.encoder,
            "connector": self.connector,
            "llm": self.llm,
            "text_encoder": self.text_encoder,
        }
        return {name: part for name, part in named.items() if part is not None}

    def tools(
        self,
        template: Template | None = None,
        max_length: int | None = None,
        blind: bool = False,
    ) -> Tools:
        """What a preparer of this model's examples works with, in data workers."""
        reader = self.connector if isinstance(self.connector, QueryConnector) else None
        pairs = self.llm if isinstance(self.llm, Seq2SeqLLM) else None
        return Tools(
            tokenizer=getattr(self.llm, "tokenizer", None),
            text_tokenizer=getattr(self.text_encoder, "tokenizer", None),
            connector_tokenizer=reader.tokenizer if reader else None,
            starts=pairs.starts if pairs else (),
            ends=pairs.ends if pairs else (),
            template=template,
            transform=getattr(self.encoder, "transform", None),
            num_tokens=self._num_tokens(),
            max_length=max_length,
            blind=blind,
            store=self.store,
        )

    def train(self, mode: bool = True) -> Self:
        """Like `nn.Module.train`, but a part in which nothing learns stays in eval mode."""
        super().train(mode)
        for part in self.parts().values():
            if not learns(part):
                part.eval()
        return self

    def add(self, name: str, part: nn.Module, seed: int) -> None:
        """Take in a part that was not there. Where a connector stood alone and the LLM comes, what
        leads from one to the other is drawn from `seed`."""
        setattr(self, name, part)
        if self.connector is not None and self.llm is not None and self.connector.dim_out is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.connector.join(self.llm.dim)
            weights = next(iter(self.connector.parameters()), None)
            if weights is not None:
                self.connector.to(weights.device)
        self._attach()

    def reset(self, name: str, seed: int) -> None:
        """Draw part `name` anew, from scratch, whatever it was loaded from or has added to it."""
        part: Any = self.parts().get(name)
        if part is None:
            known = ", ".join(self.parts())
            raise PartError(f"reset: the model has no part {name!r}. Parts: {known}")
        given = {
            "tokenizer_object": getattr(part, "tokenizer", None),
            "dim_in": getattr(part, "dim_in", None),
            "dim_out": getattr(part, "dim_out", None),
            "llm_layers": getattr(part, "llm_layers", None),
            "newline": getattr(part, "newline", None) is not None,
            "visual_dim": getattr(part, "visual_dim", None),
        }
        fresh = drawn_from(part.blueprint(), name, seed, given)
        weights = next(iter(part.parameters()), None)
        if weights is not None:
            fresh.to(weights.device)
            # Parameters alone: rotary frequencies are buffers, and need fp32.
            for parameter in fresh.parameters():
                parameter.data = parameter.data.to(weights.dtype)
        setattr(self, name, fresh)
        self._attach()

    def hidden(self, batch: Pack | Pairs, needed: Tensor | None = None) -> Tensor:
        """The LLM's hidden states of a batch; of pairs, the decoder's. -> (tokens dim)

        With `needed` (rows) int64, those of these tokens alone -> (rows dim); what only the
        others would take is not computed.
        """
        if isinstance(batch, Pairs):
            hidden = of_pairs(self, batch, needed)
        else:
            hidden = of_pack(self, batch, needed)
        return hidden if needed is None else hidden.index_select(0, needed)

    def embed(
        self,
        ids: Tensor,
        visual: Tensor,
        images: Images | None,
        text: ConnectorText | None = None,
        shows: Tensor | None = None,
    ) -> tuple[Tensor, CrossAttentionStates | None]:
        """What the LLM reads: (tokens dim), with the visual tokens at their places.

        `ids` (tokens), any value where a visual token goes; `visual` (visual tokens) their
        places, in the images' order, or in that of `shows`, the visual token that goes to each;
        `text` what the connector reads beside them. States take no place and are returned beside
        it, those of a blank picture where there is none.
        """
        if self.llm is None:
            raise PartError("the model has no `llm` that could read")
        embeds = self.llm.embed(ids.index_fill(0, visual, 0))
        if images is None and self.gives_states:
            images = self._blank(embeds.device)
        if images is None:
            nothing = self._nothing(embeds)
            return (embeds if nothing is None else embeds + nothing), None
        seen = self.see(images, text)
        if isinstance(seen, CrossAttentionStates):
            return embeds, seen
        self._check_promise(images, seen, len(visual) if shows is None else None)
        if shows is not None:
            seen = seen.index_select(0, shows)
        return embeds.index_copy(0, visual, seen.to(embeds.dtype)), None

    def see(
        self, images: Images, text: ConnectorText | None = None
    ) -> Tensor | CrossAttentionStates:
        """Visual tokens of the images, end to end (tokens dim); or states to look at. A
        connector that reads `text` is given it."""
        if self.encoder is None or not (self.connector or self.gives_states):
            raise PartError("a batch with images needs an `encoder` and a `connector`")
        features = self.encode(images)
        if self.connector is None:
            values, mask = features.padded()
            return CrossAttentionStates(values.to(_dtype(self.llm)), mask)
        weights = next(iter(self.connector.parameters()), None)
        if weights is not None:
            features = Features(features.values.to(weights.dtype), features.grids)
        if isinstance(self.connector, QueryConnector) and self.connector.tokenizer is not None:
            tokens: Tensor = self.connector(features, text)
            return tokens
        seen: Tensor | CrossAttentionStates = self.connector(features)
        return seen

    @property
    def gives_states(self) -> bool:
        """Whether the LLM is given states to look at, in place of visual tokens."""
        if self.connector is not None:
            return isinstance(self.connector, CrossAttentionConnector)
        return isinstance(self.llm, CausalLLM) and self.llm.looks and self.encoder is not None

    def encode(self, images: Images) -> Features:
        """The encoder's features; a frozen encoder keeps no graph and drops nothing out. One in
        eval mode sees an image once that occurs twice."""
        if self.encoder is None:
            raise PartError("a batch with images needs an `encoder`")
        trained = learns(self.encoder)
        if not trained:
            self.encoder.eval()
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            if self.encoder.training:
                features: Features = self.encoder(images)
                return features
            return encode_once(self.encoder, images, self.store)

    def _nothing(self, embeds: Tensor) -> Tensor | None:
        """Zero, by way of encoder and connector where they are part of the step.

        Without it a batch without images would leave their parameters without a gradient, and
        the other ranks waiting for them.
        """
        if self.encoder is None or self.connector is None:
            return None
        trained = torch.is_grad_enabled() and (learns(self.encoder) or learns(self.connector))
        if not trained and not _several_ranks():
            return None
        seen = self.see(self._blank(embeds.device))
        return 0.0 * seen.sum().to(embeds.dtype) if isinstance(seen, Tensor) else None

    def _num_tokens(self) -> TokenCount | None:
        if self.connector is not None:
            return self.connector.config.num_tokens
        return no_tokens if self.gives_states else None

    def _blank(self, device: torch.device) -> Images:
        """One picture with nothing in it."""
        if self.encoder is None:
            raise PartError("a connector by cross-attention needs an `encoder` in the model")
        return self.encoder.blank().to(device)

    def _check_promise(self, images: Images, seen: Tensor, kept: int | None) -> None:
        """`kept` places are as many as were promised, where nobody counted them."""
        if self.connector is None or len(seen) == kept:
            return
        promised = [self.connector.config.num_tokens(grids) for grids in images.grids]
        kept = sum(promised) if kept is None else kept
        if len(seen) == kept:
            return
        raise PartError(
            f"connector {self.connector.name}: it promised {sum(promised)} visual tokens for "
            f"{len(images)} images ({', '.join(map(str, promised[:8]))}), the sequence kept "
            f"{kept} places for them, and it gave {len(seen)}. Its `num_tokens` must say "
            "what its `forward` returns"
        )

    def _attach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        if isinstance(self.connector, CrossAttentionConnector) and self.llm is not None:
            self._hooks = list(self.connector.attach(self.llm))


def no_tokens(grids: Grids) -> int:
    """Places in the sequence of an image that an LLM looks at by itself."""
    return 0


def _dtype(part: nn.Module | None) -> torch.dtype | None:
    weights = next(iter(part.parameters()), None) if part is not None else None
    return None if weights is None else weights.dtype


def learns(part: nn.Module) -> bool:
    """Whether anything in the part is trained."""
    return any(parameter.requires_grad for parameter in part.parameters())


def _several_ranks() -> bool:
    distributed = torch.distributed
    ready = distributed.is_available() and distributed.is_initialized()
    return ready and distributed.get_world_size() > 1
