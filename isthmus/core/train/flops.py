"""Floating point operations of a step, from the shapes of the model's layers.

Counted is what the mathematics takes, not what was executed: a multiply-add is two operations;
a matrix works on real tokens and patches alone, or on supervised tokens alone where no other is
needed (the head, most of the last layer); causal attention is half of a square, over each
sample's own tokens. A matrix counts once for the forward pass, again where its input needs a
gradient and again where it learns: a trained LLM takes 6 operations per weight and token, a
frozen one above a trained connector 4. Embeddings, norms, the optimizer, recomputation and
padding count nothing.

What reaches what is not guessed: a picture and a token are sent through once, when a stage
begins, and every layer says how many rows it got and whether they carry a gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from isthmus.core.contracts import (
    LLM,
    Batch,
    CausalLLM,
    ConnectorText,
    CrossAttentionConnector,
    Features,
    Images,
    Pack,
    QueryConnector,
    Segments,
)
from isthmus.core.model.vlm import VisionLanguageModel, learns


@dataclass(frozen=True)
class FlopModel:
    """What a stage's step takes, given how much there is of everything.

    Operations of the encoder for each of its crops, of the connector for each feature, of the
    LLM's layers for each token, of its head and last layer for each supervised token (`row`),
    and of attention for each pair of tokens: one entry a layer, with how far back it looks. A
    frozen encoder looks `once` at an image that occurs twice.
    """

    crop: float
    feature: float
    token: float
    row: float
    pairs: tuple[tuple[float, int | None], ...]
    once: bool

    @staticmethod
    def of(model: VisionLanguageModel, bf16: bool) -> FlopModel | None:
        """The model as it is tuned now, before it is shared between processes. None where a
        part does work that is not understood, or there is no causal LLM.

        `bf16` runs it as training will.
        """
        if not isinstance(model.llm, CausalLLM):
            return None
        if isinstance(model.connector, CrossAttentionConnector):
            return None  # its layers inside the LLM work on tokens and on states
        device = next(model.parameters()).device
        with (
            _evaluating(model),
            torch.enable_grad(),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16),
            sdpa_kernel(SDPBackend.MATH),  # not every torch counts its fused ones
        ):
            crop, feature, reaches = _sight(model, device)
            layers = _language(model.llm, device, reaches)
        once = model.encoder is None or not learns(model.encoder)
        return FlopModel(crop, feature, *layers, once) if layers else None

    def step(self, batches: Sequence[Batch], causal: bool = True) -> float | None:
        """Operations of a step of these micro-batches, forward and backward. None for batches
        of an objective that is not next-token prediction. `causal` False counts attention as
        the whole square, as most counters do."""
        total = 0.0
        for batch in batches:
            if not isinstance(batch, Pack):
                return None
            images = batch.images
            if images is not None:
                features = sum(grid.num_features for grids in images.grids for grid in grids)
                total += self.crop * self._crops(images) + self.feature * features
            total += self.token * batch.num_tokens + self.row * batch.weight
            total += self._attention(batch.segments.lengths, causal)
        return total

    def _crops(self, images: Images) -> int:
        """Those that the encoder looks at; images whose features are known have none."""
        if not self.once or not images.keys:
            return sum(images.crops)
        return sum(dict(zip(images.keys, images.crops, strict=True)).values())

    def _attention(self, lengths: Sequence[int], causal: bool) -> float:
        seen: dict[int | None, float] = {}
        for _, window in self.pairs:
            if window not in seen:
                seen[window] = sum(_pairs(length, window, causal) for length in lengths)
        return sum(each * seen[window] for each, window in self.pairs)


def _pairs(length: int, window: int | None, causal: bool) -> float:
    """Pairs of tokens of one sample that look at each other."""
    if not causal:
        return length**2
    if window is None or length <= window:
        return length**2 / 2
    return window * length - window**2 / 2


@dataclass
class _Watch:
    """Operations of the matrices that ran: `forward` alone, and `all` with the backward pass."""

    forward: float = 0.0
    all: float = 0.0
    weights: set[int] = field(default_factory=set)

    def note(self, layer: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """A forward hook of a layer with a matrix."""
        weight: Tensor = layer.weight
        convolves = weight.ndim > 2
        rows = output.numel() // output.shape[1 if convolves else -1]
        once = 2.0 * rows * weight.numel()
        self.forward += once
        self.all += once * (1 + inputs[0].requires_grad + weight.requires_grad)
        self.weights.add(id(weight))


@contextmanager
def _watching(part: nn.Module) -> Iterator[_Watch]:
    watch = _Watch()
    handles = [
        layer.register_forward_hook(watch.note, prepend=True)  # on the rows that it worked on
        for layer in part.modules()
        if _has_matrix(layer) and not isinstance(layer, nn.Embedding)
    ]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


def _has_matrix(layer: nn.Module) -> bool:
    """Whether it has one of its own; an adapter shows that of the layer inside it."""
    weight = dict(layer.named_parameters(recurse=False)).get("weight")
    return weight is not None and weight.ndim >= 2


def _sight(model: VisionLanguageModel, device: torch.device) -> tuple[float, float, bool]:
    """Operations of the encoder for a crop, of the connector for a feature, and whether what
    they give carries a gradient."""
    encoder, connector = model.encoder, model.connector
    if encoder is None or connector is None:
        return 0.0, 0.0, False
    blank = encoder.blank().to(device)
    with _watching(encoder) as looked, FlopCounterMode(display=False) as counter:
        features = model.encode(blank)
    crop = looked.all + _rest(counter, looked, features.values)
    stored = next(connector.parameters(), features.values).dtype
    given: list[Any] = [Features(features.values.to(stored), features.grids)]
    if isinstance(connector, QueryConnector) and connector.tokenizer is not None:
        given.append(ConnectorText.of([[0]] * len(blank)).to(device))
    with _watching(connector) as joined, FlopCounterMode(display=False) as counter:
        tokens: Tensor = connector(*given)
    feature = joined.all + _rest(counter, joined, tokens)
    return crop / len(blank.pixels), feature / len(features.values), tokens.requires_grad


def _rest(counter: FlopCounterMode, watch: _Watch, output: Tensor) -> float:
    """What ran besides the layers with matrices: attention, whose both factors need a gradient
    where the output carries one."""
    more = counter.get_total_flops() - watch.forward
    return more * (3 if output.requires_grad else 1)


def _language(
    llm: CausalLLM, device: torch.device, reaches: bool
) -> tuple[float, float, tuple[tuple[float, int | None], ...]] | None:
    """Operations of the layers for a token, of the layers and the head for a row, of attention
    for each pair of tokens; None where weights are used in a way that is not understood."""
    one = torch.zeros(1, dtype=torch.long, device=device)
    embeds = llm.embed(one)
    learns = embeds.requires_grad
    carried: list[bool] = []

    def run(tokens: int) -> tuple[Tensor, float, set[int]]:
        """Of so many tokens the first one is needed."""
        given = embeds.detach().repeat(tokens, 1).requires_grad_(learns or reaches)
        with _watching(llm) as watch:
            hidden: Tensor = llm(given, Segments((tokens,), needed=one))
        return hidden, watch.all, watch.weights

    _, two, _ = run(2)
    handles = [
        layer.register_forward_hook(lambda *call: carried.append(_first(call[2]).requires_grad))
        for layer in llm.decoder_layers
    ]
    hidden, single, weights = run(1)
    for handle in handles:
        handle.remove()
    with _watching(llm) as head:
        llm.head(hidden[:1])
    if _unknown_weights(llm, weights | head.weights):
        return None
    # Scores, and values weighted by them: two multiply-adds for each number of a head.
    pairs = tuple(
        (4.0 * width * (3 if learnt else 1), window)
        for (width, window), learnt in zip(llm.attention_layers(), carried, strict=True)
    )
    token = two - single
    return token, single - token + head.all, pairs


def _unknown_weights(llm: LLM, known: set[int]) -> bool:
    """Whether matrices of the LLM took no part in a token's way through it: experts chosen one
    by one, or kept in one tensor, would be counted wrong."""
    tables = {id(m.weight) for m in llm.modules() if isinstance(m, nn.Embedding)}
    matrices = {id(p) for p in llm.parameters() if p.ndim >= 2}
    return bool(matrices - known - tables)


def _first(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout, and no running statistics moved."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
