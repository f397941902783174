"""How many operations a model's parts take, found by sending a picture and a token through.

What reaches what is not guessed: every layer with a matrix says how many rows it got, and whether
they carry a gradient. What is for every token and what for supervised ones alone is told apart by
two runs, of one token and of two, of which one is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from isthmus.core.contracts import (
    LLM,
    AnyConnector,
    CausalLLM,
    ConnectorText,
    Features,
    QueryConnector,
    Segments,
)
from isthmus.core.model.vlm import VisionLanguageModel, learns
from isthmus.core.train.flops import NOTHING, FlopModel, LayerWork, Parabola


def flop_model(model: VisionLanguageModel, bf16: bool) -> FlopModel | None:
    """The operations of a model as it is tuned now, before it is shared between processes. None
    where a part does work that is not understood, or there is no causal LLM.

    `bf16` runs it as training will.
    """
    if not isinstance(model.llm, CausalLLM):
        return None
    if model.gives_states:
        return None  # its layers inside the LLM work on tokens and on states
    device = next(model.parameters()).device
    with (
        _evaluating(model),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        torch.enable_grad(),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16),
        sdpa_kernel(SDPBackend.MATH),  # not every torch counts its fused ones
    ):
        sight = _sight(model, device)
        language = _language(model.llm, device, sight.reaches)
    if language is None:
        return None
    once = model.encoder is None or not learns(model.encoder)
    blocks = () if once else sight.blocks
    ahead = model.llm.prefix_attention
    return FlopModel(sight.crop, sight.image, sight.read, *language, blocks, once, ahead)


@dataclass(frozen=True)
class _Sight:
    """Operations of the encoder for a crop and of its blocks' forward passes, of the connector
    for an image and for the words beside it, and whether what they give carries a gradient."""

    crop: float = 0.0
    blocks: tuple[float, ...] = ()
    image: Parabola = NOTHING
    read: Parabola = NOTHING
    reaches: bool = False


@dataclass
class _Watch:
    """Operations of the matrices that ran: `forward` alone, and `all` with the backward pass."""

    forward: float = 0.0
    all: float = 0.0
    weights: set[int] = field(default_factory=set)
    carries: bool = False
    """Whether what the part gave has a gradient."""

    def end(self, part: nn.Module, inputs: Any, output: Any) -> None:
        """A forward hook of the part."""
        first = output[0] if isinstance(output, tuple) else output
        self.carries = isinstance(first, Tensor) and first.requires_grad

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
    handles = [part.register_forward_hook(watch.end)]
    handles += [
        layer.register_forward_hook(watch.note, prepend=True)  # on the rows that it worked on
        for layer in part.modules()
        if _has_matrix(layer) and not isinstance(layer, nn.Embedding)
    ]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _watching_each(parts: Iterable[nn.Module]) -> Iterator[list[_Watch]]:
    with ExitStack() as stack:
        yield [stack.enter_context(_watching(part)) for part in parts]


def _has_matrix(layer: nn.Module) -> bool:
    """Whether it has one of its own; an adapter shows that of the layer inside it."""
    weight = dict(layer.named_parameters(recurse=False)).get("weight")
    return weight is not None and weight.ndim >= 2


def _sight(model: VisionLanguageModel, device: torch.device) -> _Sight:
    encoder, connector = model.encoder, model.connector
    if encoder is None or connector is None:
        return _Sight()
    blank = encoder.blank().to(device)
    with (
        _watching(encoder) as looked,
        _watching_each(encoder.encoder_layers) as layers,
        FlopCounterMode(display=False) as counter,
    ):
        features = model.encode(blank)
    crops = len(blank.pixels)
    attention = counter.get_total_flops() - looked.forward
    blocks = [layer.forward + attention / len(layers) for layer in layers]
    crop = looked.all + _rest(counter, looked, features.values)
    image, read, reaches = _joined(connector, features)
    each = tuple(block / crops for block in blocks)
    return _Sight(crop / crops, each, image, read, reaches)


def _joined(connector: AnyConnector, features: Features) -> tuple[Parabola, Parabola, bool]:
    """What a connector takes for an image without a word beside it, by its features, and for so
    many words; and whether what it gives carries a gradient.

    It may take something for an image as such (its queries), and let features or words attend to
    each other: so the image lies in a row once, twice and three times, and so do the words.
    """
    stored = next(connector.parameters(), features.values).dtype
    values = features.values.to(stored)
    reads = isinstance(connector, QueryConnector) and connector.tokenizer is not None

    def took(times: int, words: int) -> tuple[float, bool]:
        given: list[Any] = [Features(values.repeat(times, 1), (features.grids[0] * times,))]
        if reads:
            given.append(ConnectorText.of([[0] * words]).to(values.device))
        with _watching(connector) as joined, FlopCounterMode(display=False) as counter:
            tokens: Tensor = connector(*given)
        return joined.all + _rest(counter, joined, tokens), tokens.requires_grad

    one, reaches = took(1, 1)
    image = Parabola.through(one, took(2, 1)[0], took(3, 1)[0], len(values))
    if not reads:
        return image, NOTHING, reaches
    words = Parabola.through(one, took(1, 2)[0], took(1, 3)[0])
    alone = Parabola(image.a + words.a - one, image.b, image.c)
    return alone, Parabola(0.0, words.b, words.c), reaches


def _rest(counter: FlopCounterMode, watch: _Watch, output: Tensor) -> float:
    """What ran besides the layers with matrices: attention, whose both factors need a gradient
    where the output carries one."""
    more = counter.get_total_flops() - watch.forward
    return more * (3 if output.requires_grad else 1)


def _language(
    llm: CausalLLM, device: torch.device, reaches: bool
) -> tuple[float, float, tuple[LayerWork, ...]] | None:
    """Operations for a token, those for a row, and the layers one by one; None where weights are
    used in a way that is not understood."""
    one = torch.zeros(1, dtype=torch.long, device=device)
    embeds = llm.embed(one)
    carried = embeds.requires_grad or reaches

    def run(tokens: int) -> tuple[Tensor, _Watch, list[_Watch]]:
        """Of so many tokens the first one is needed."""
        given = embeds.detach().repeat(tokens, 1).requires_grad_(carried)
        with _watching(llm) as whole, _watching_each(llm.decoder_layers) as layers:
            hidden: Tensor = llm(given, Segments((tokens,), needed=one))
        return hidden, whole, layers

    _, two, twos = run(2)
    hidden, single, ones = run(1)
    with _watching(llm) as head:
        llm.head(hidden[:1])
    if _unknown_weights(llm, single.weights | head.weights):
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
        for more, less, (width, window) in zip(twos, ones, llm.attention_layers(), strict=True)
    ]
    token = two.all - single.all
    return token, single.all - token + head.all, tuple(work)


def _unknown_weights(llm: LLM, known: set[int]) -> bool:
    """Whether matrices of the LLM took no part in a token's way through it: experts chosen one
    by one, or kept in one tensor, would be counted wrong."""
    tables = {id(m.weight) for m in llm.modules() if isinstance(m, nn.Embedding)}
    matrices = {id(p) for p in llm.parameters() if p.ndim >= 2}
    return bool(matrices - known - tables)


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
