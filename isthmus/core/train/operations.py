"""How many operations a model's parts take, found by sending a picture and a token through.

What reaches what is not guessed: every layer with a matrix says how many rows it got, and whether
they carry a gradient. What is for every token and what for supervised ones alone is told apart by
two runs, of one token and of two, of which one is needed; what is for every state that blocks in
the LLM look at, by a run with twice as many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from isthmus.core.contracts import (
    VISUAL_SEEN,
    VISUAL_STATES,
    CausalLLM,
    CrossAttentionConnector,
    CrossAttentionStates,
    Objective,
    Segments,
    Seq2SeqLLM,
)
from isthmus.core.model.vlm import VisionLanguageModel, learns
from isthmus.core.train.causal_flops import NO_LOOKS, CausalFlops, Looks
from isthmus.core.train.flops import Flops, LayerWork
from isthmus.core.train.match_operations import match_flops
from isthmus.core.train.pair_operations import pair_flops
from isthmus.core.train.sight_operations import Seen, look
from isthmus.core.train.watching import Watch, unknown_weights, watching, watching_each


def flop_model(
    model: VisionLanguageModel, bf16: bool, objective: Objective | None = None
) -> Flops | None:
    """The operations of a model as it is tuned now, before it is shared between processes. None
    where a part does work that is not understood.

    `bf16` runs it as training will. Absent, the `objective` is next-token prediction.
    """
    needs = {"llm"} if objective is None else objective.config.needs
    if "llm" in needs and model.llm is None:
        return None
    device = next(model.parameters()).device
    with (
        _evaluating(model),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        torch.enable_grad(),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16),
        sdpa_kernel(SDPBackend.MATH),  # not every torch counts its fused ones
    ):
        seen = look(model, device, joins="llm" in needs)
        if objective is not None and "llm" not in needs:
            return match_flops(model, objective, model.tools(), seen, device)
        if isinstance(model.llm, CausalLLM) and not model.llm.looks:
            return _causal(model, model.llm, seen, device)
        if isinstance(model.llm, Seq2SeqLLM):
            return pair_flops(model.llm, seen, device)
    return None


def _causal(
    model: VisionLanguageModel, llm: CausalLLM, seen: Seen, device: torch.device
) -> CausalFlops | None:
    """None where weights are used in a way that is not understood."""
    one = torch.zeros(1, dtype=torch.long, device=device)
    embeds = llm.embed(one)
    inside = model.connector if isinstance(model.connector, CrossAttentionConnector) else None
    carried = embeds.requires_grad or (seen.reaches and inside is None)

    def run(tokens: int, images: int = 1) -> _Run:
        """Of so many tokens the first one is needed; blocks look at the states of an image."""
        given = embeds.detach().repeat(tokens, 1).requires_grad_(carried)
        more = _to_look_at(seen, tokens, images)
        with (
            watching(llm) as whole,
            watching_each(llm.decoder_layers) as layers,
            watching(inside or nn.Identity()) as own,
            FlopCounterMode(display=False) as counter,
        ):
            hidden: Tensor = llm(given, Segments((tokens,), needed=one), more)
        return _Run(whole, layers, own, counter, hidden)

    two, single = run(2), run(1)
    with watching(llm) as head:
        llm.head(single.hidden[:1])
    if unknown_weights(llm, single.whole.weights | head.weights):
        return None
    work = [
        LayerWork(
            token=more.forward - less.forward,
            row=2 * less.forward - more.forward,
            # Scores, and values weighted by them: two multiply-adds for each number of a head.
            pair=4.0 * width,
            window=window,
            passes=3 if less.carries else 1,
        )
        for more, less, (width, window) in zip(
            two.layers, single.layers, llm.attention_layers(), strict=True
        )
    ]
    looks, states = NO_LOOKS, 0.0
    if inside is not None and seen.states is not None:
        states = seen.states.mask.shape[1]
        doubled = run(1, images=2)
        keys = learns(inside) or seen.reaches
        # A connector enters by pre-hooks: its block asks by what comes into the layer.
        comes = [carried, *(layer.carries for layer in single.layers[:-1])]
        entered = zip(llm.decoder_layers, comes, strict=True)
        asks = [learns(inside) or came for layer, came in entered if layer._forward_pre_hooks]
        passes = 1 + keys + sum(asks) / max(1, len(asks))
        looks = Looks(
            state=(doubled.all - single.all) / states,
            pair=(doubled.attention - single.attention) / states * passes,
            states=seen.count,
            all=inside.sees_all,
        )
    token = two.all - single.all
    row = single.all - token - looks.state * states + head.all
    return CausalFlops(seen.sight, token, row, tuple(work), looks, llm.prefix_attention)


@dataclass
class _Run:
    """A run of an LLM: what it took as a whole, by its layers, and in what a connector has inside
    it."""

    whole: Watch
    layers: list[Watch]
    inside: Watch
    counter: FlopCounterMode
    hidden: Tensor

    @property
    def all(self) -> float:
        """Of matrices, forward and backward."""
        return self.whole.all + self.inside.all

    @property
    def attention(self) -> float:
        """Of what else there is, forward alone."""
        counted: int = self.counter.get_total_flops()
        return counted - self.whole.forward - self.inside.forward


def _to_look_at(seen: Seen, tokens: int, images: int) -> Mapping[str, Any] | None:
    """The states of one image, so often, as every layer gets them."""
    if seen.states is None:
        return None
    values = seen.states.values.detach().requires_grad_(seen.reaches).repeat(images, 1, 1)
    states = CrossAttentionStates(values, seen.states.mask.repeat(images, 1))
    all_of_them = torch.ones(tokens, images, dtype=torch.bool, device=values.device)
    return {VISUAL_STATES: states, VISUAL_SEEN: all_of_them}


def _has_statistics(part: nn.Module) -> bool:
    batch_norms = nn.modules.batchnorm._BatchNorm
    return any(isinstance(module, batch_norms) for module in part.modules())


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout, and no running statistics moved. An encoder that learns is left in train mode,
    since it may leave patches out there; it has no batch norm that would move."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    encoder = getattr(model, "encoder", None)
    if encoder is not None and learns(encoder) and not _has_statistics(encoder):
        encoder.train()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
