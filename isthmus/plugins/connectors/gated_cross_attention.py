"""Flamingo's gated cross-attention: blocks between the layers of a frozen LLM, which look at the
picture while it reads, and change nothing until their gates have opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from einops import rearrange
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from isthmus import hookimpl
from isthmus.core.contracts import (
    LLM,
    VISUAL_SEEN,
    VISUAL_STATES,
    AnyConnector,
    CrossAttentionConnector,
    CrossAttentionStates,
    Features,
    Place,
)
from isthmus.core.model.blocks import FeedForward, MultiHead, squared_relu
from isthmus.core.model.draw import draw_scaled
from isthmus.errors import PartError

WIDER = 4
"""How much wider the inside of a feed-forward layer is."""


class GatedCrossAttention(CrossAttentionConnector, name="gated_cross_attention"):
    """Flamingo's blocks in the LLM (Alayrac et al. 2022, arXiv:2204.14198). -> (states dim_in)

    States of each image, which blocks of its own, before layers of the LLM, look at.
    """

    class Config(CrossAttentionConnector.Config):
        """Configuration of `gated_cross_attention`."""

        states: AnyConnector.Config | None = None
        """Connector that makes what is looked at, like Flamingo's `{type: resampler}`; absent, it
        is the features themselves."""
        every: PositiveInt = 4
        """A block stands before the LLM's first layer, and before every so many layers on."""
        heads: PositiveInt = 8
        """Attention heads of a block."""
        head_dim: PositiveInt = 64
        """Width of a head."""
        sees: Literal["last", "all"] = "last"
        """What a word looks at: the `last` image before it, as in Flamingo, or `all` images before
        it. Of images with no word between them, only the last is the last one of any word."""

        def check(self) -> Iterator[tuple[Place, str]]:
            if self.states and issubclass(self.states.owner, CrossAttentionConnector):
                yield (
                    ("states",),
                    f"{self.states.owner.name} enters the LLM itself; take a connector that gives "
                    "visual tokens, like `resampler` or `mlp`, or leave it out",
                )

    config: Config

    def __init__(self, config: Config, dim_in: int, dim_out: int, llm_layers: int) -> None:
        super().__init__(config, dim_in, dim_out)
        self.llm_layers = llm_layers
        self.blocks = nn.ModuleList(
            Block(dim_out, dim_in, config) for _ in range(0, llm_layers, config.every)
        )
        self.norm = nn.LayerNorm(dim_in)
        draw_scaled(self)
        self.states: Any = None
        if config.states is not None:
            self.states = config.states.build(dim_in=dim_in, dim_out=dim_in)
            if getattr(self.states, "tokenizer", None) is not None:
                raise PartError(
                    f"connector gated_cross_attention: states: {config.states.owner.name} reads "
                    "text, and here there is none for it to read; let it look at pictures alone"
                )

    @property
    def sees_all(self) -> bool:
        return self.config.sees == "all"

    def forward(self, features: Features) -> CrossAttentionStates:
        if self.states is None:
            values, mask = features.padded()
            return CrossAttentionStates(self.norm(values), mask)
        counts = [self.states.config.num_tokens(grids) for grids in features.grids]
        runs = torch.split(self.states(features), counts)
        values = nn.utils.rnn.pad_sequence(list(runs), batch_first=True)
        at = torch.arange(values.shape[1], device=values.device)
        mask = at[None] < torch.tensor(counts, device=values.device)[:, None]
        return CrossAttentionStates(self.norm(values), mask)

    def attach(self, llm: LLM) -> Sequence[RemovableHandle]:
        layers = list(llm.decoder_layers)
        if len(layers) != self.llm_layers:
            raise PartError(
                f"connector gated_cross_attention: it was built for an LLM of {self.llm_layers} "
                f"layers, and this one has {len(layers)}; give `llm_layers={len(layers)}`"
            )
        entered: Any = zip(layers[:: self.config.every], self.blocks, strict=True)
        return [
            layer.register_forward_pre_hook(block.before, with_kwargs=True)
            for layer, block in entered
        ]

    def blueprint(self) -> Config:
        if self.states is None:
            return self.config
        return self.config.model_copy(update={"states": self.states.blueprint()})


class Block(nn.Module):
    """What one layer of the LLM gets added to its input: what was seen, and what follows from it,
    each through a gate that is shut at first."""

    def __init__(self, dim: int, dim_seen: int, config: GatedCrossAttention.Config) -> None:
        super().__init__()
        self.sees = config.sees
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = MultiHead(dim, dim_seen, config.heads, config.head_dim, bias=False)
        self.attention_gate = nn.Parameter(torch.zeros(1))
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, WIDER * dim, squared_relu, bias=False)
        self.mlp_gate = nn.Parameter(torch.zeros(1))

    def before(
        self, layer: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A pre-hook of the layer."""
        states, seen = inputs.pop(VISUAL_STATES, None), inputs.pop(VISUAL_SEEN, None)
        if states is None:  # the LLM is asked by itself, about text alone
            return args, inputs
        return (self(args[0], states, seen), *args[1:]), inputs

    def forward(self, hidden: Tensor, states: CrossAttentionStates, seen: Tensor) -> Tensor:
        """hidden (batch tokens dim), states (images states dim), seen (batch tokens images)."""
        if self.sees == "last":
            behind = seen.flip(-1).cumsum(-1).flip(-1)  # images from this one on, to the last
            seen = seen & (behind == 1)
        nothing = ~seen.any(-1, keepdim=True)
        looks = rearrange(seen[..., None] & states.mask, "b t images states -> b t (images states)")
        # A row that saw nothing at all would be not a number. It looks everywhere, in vain.
        looks = (looks | nothing)[:, None]
        rows = hidden.to(self.attention.q_proj.weight.dtype)
        values = rearrange(states.values, "images states dim -> 1 (images states) dim")
        found = self.attention(self.attention_norm(rows), values, looks)
        found = self.attention_gate.tanh() * found.masked_fill(nothing, 0.0)
        thought = self.mlp_gate.tanh() * self.mlp(self.mlp_norm(rows + found))
        # Added in the LLM's own precision, which its stream keeps.
        return hidden + (found + thought).to(hidden.dtype)


@hookimpl
def register_connectors(register: Callable[[type], None]) -> None:
    register(GatedCrossAttention)
