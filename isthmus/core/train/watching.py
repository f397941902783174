"""How many operations layers take: every one with a matrix says how many rows it got, and whether
they carry a gradient. Nothing of a family is guessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from isthmus.core.contracts import LLM


@dataclass
class Watch:
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
def watching(part: nn.Module) -> Iterator[Watch]:
    watch = Watch()
    handles = [part.register_forward_hook(watch.end)]
    handles += [
        layer.register_forward_hook(watch.note, prepend=True)  # on the rows that it worked on
        for layer in part.modules()
        if has_matrix(layer) and not isinstance(layer, nn.Embedding)
    ]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def watching_each(parts: Iterable[nn.Module]) -> Iterator[list[Watch]]:
    with ExitStack() as stack:
        yield [stack.enter_context(watching(part)) for part in parts]


def has_matrix(layer: nn.Module) -> bool:
    """Whether it has one of its own; an adapter shows that of the layer inside it."""
    weight = dict(layer.named_parameters(recurse=False)).get("weight")
    return weight is not None and weight.ndim >= 2


def rest(counter: FlopCounterMode, watch: Watch, output: Tensor) -> float:
    """What ran besides the layers with matrices: attention, whose both factors need a gradient
    where the output carries one."""
    more = counter.get_total_flops() - watch.forward
    return more * (3 if output.requires_grad else 1)


def unknown_weights(llm: LLM, known: set[int]) -> bool:
    """Whether matrices of the LLM took no part in a token's way through it: experts chosen one
    by one, or kept in one tensor, would be counted wrong."""
    tables = {id(m.weight) for m in llm.modules() if isinstance(m, nn.Embedding)}
    matrices = {id(p) for p in llm.parameters() if p.ndim >= 2}
    return bool(matrices - known - tables)
