"""A decoder's last layer, on the tokens that are needed.

Of its output only some tokens' hidden states may be needed: in training those that are
supervised, a sixth of LLaVA's. What works on each token by itself (the MLP, the queries, the
projection after attention) then leaves the others out. Keys and values are looked at by later
tokens, and stay whole.

Which modules those are is not assumed of a family. The gradient of one token's output tells:
in the input and output of a module it reaches that token's row and no other, unless the module
mixes tokens or feeds what is mixed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.core.model.layout import Layout

AXIS = -2
"""The one along which tokens stand, in (1 tokens dim) and in (tokens dim)."""


class LastLayer:
    """Runs `modules` of the last decoder layer on the tokens that its call needs."""

    def __init__(self, layer: nn.Module, modules: list[nn.Module]) -> None:
        self.needed: Tensor | None = None
        self.tokens = 0
        # `needed` is set inside `forward`, where hooks of the layer are not: a second run of it,
        # for activations that were not kept, must read the same.
        layer.forward = functools.partial(self._forward, layer.forward)
        for module in modules:
            module.register_forward_pre_hook(self._select)
            module.register_forward_hook(self._spread)

    def _forward(self, forward: Callable[..., Any], *inputs: Any, **more: Any) -> Any:
        layout = more.get("segments")
        self.needed = layout.segments.needed if isinstance(layout, Layout) else None
        try:
            return forward(*inputs, **more)
        finally:
            self.needed = None

    def _select(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        if self.needed is None:
            return None
        self.tokens = inputs[0].shape[AXIS]
        return (inputs[0].index_select(AXIS, self.needed),)

    def _spread(self, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor | None:
        """With zero for the tokens that were left out."""
        if self.needed is None:
            return None
        whole = [*output.shape]
        whole[AXIS] = self.tokens
        return output.new_zeros(whole).index_copy(AXIS, self.needed, output)


class _Watch:
    """What each module of a layer was given and what it gave, in one run."""

    def __init__(self, layer: nn.Module) -> None:
        self.given: dict[nn.Module, Tensor] = {}
        self.gave: dict[nn.Module, Tensor] = {}
        self.other: set[nn.Module] = set()
        """Modules that were not run once, on one tensor, to give one."""
        self.handles = [layer.register_forward_hook(self._after)]
        for module in layer.modules():
            if module is not layer:
                self.handles.append(module.register_forward_pre_hook(self._before))
                self.handles.append(module.register_forward_hook(self._after))

    def _before(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor] | None:
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or module in self.given:
            self.other.add(module)
            return None
        (given,) = inputs
        # A tensor of its own: what other modules make of the same input is not its doing.
        self.given[module] = (given if given.requires_grad else given.requires_grad_()).clone()
        return (self.given[module],)

    def _after(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(output, tuple):
            self.other.add(module)
        self.gave[module] = first


@torch.enable_grad()
def by_row(layer: nn.Module, run: Callable[[], Any], token: int, tokens: int) -> list[nn.Module]:
    """Modules of `layer`, the outermost that qualify: they have matrices, work on each token by
    itself, and of their output the layer's for a token needs that token's alone.

    `run` sends so many `tokens` through the model; `token` is one with others on both sides.
    """
    watch = _Watch(layer)
    try:
        run()
    finally:
        for handle in watch.handles:
            handle.remove()
    output = watch.gave[layer].flatten(end_dim=-2)[token]
    # In no direction of its own: norms have no gradient along some.
    value = (output * torch.arange(len(output), device=output.device).cos()).sum()

    def qualifies(module: nn.Module) -> bool:
        given, gave = watch.given.get(module), watch.gave.get(module)
        if given is None or gave is None or module in watch.other:
            return False
        if not (_has_rows(given, tokens) and _has_rows(gave, tokens)):
            return False
        if not any(parameter.ndim > 1 for parameter in module.parameters()):
            return False
        found = torch.autograd.grad(value, (given, gave), retain_graph=True, allow_unused=True)
        return all(end is not None and _rows_reached(end) == [token] for end in found)

    return list(_outermost(layer, qualifies))


def _outermost(parent: nn.Module, wanted: Callable[[nn.Module], bool]) -> Iterator[nn.Module]:
    for child in parent.children():
        if wanted(child):
            yield child
        else:
            yield from _outermost(child, wanted)


def _has_rows(values: Tensor, rows: int) -> bool:
    """Whether it is so many rows, and nothing more."""
    return values.ndim > 1 and values.shape[AXIS] == rows == values.shape[:-1].numel()


def _rows_reached(gradient: Tensor) -> list[int]:
    rows: list[int] = gradient.flatten(end_dim=-2).ne(0).any(dim=-1).nonzero()[:, 0].tolist()
    return rows
