"""The layers of a model that training may wrap: computed twice instead of kept, or compiled.

What is wrapped is a layer's `forward`, on the instance: names of weights stay, and what is hooked
onto a layer (FSDP's gathering, a connector's cross-attention) runs outside, once. Everything that
a layer reads reaches it as an argument, so that a second run reads what the first one read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from isthmus.core.contracts import LLM
from isthmus.core.model.ragged import stay_out_of_graphs
from isthmus.core.model.vlm import VisionLanguageModel, learns

Forward = Callable[..., Any]


class Layers:
    """The LLM's layers, and the encoder's where it learns, in groups of like layers."""

    def __init__(self, model: nn.Module) -> None:
        self.groups: list[list[nn.Module]] = []
        self.again: Callable[[int], Container[int]] = _none
        """Of a group of so many layers, those that are computed twice."""
        if isinstance(model, VisionLanguageModel):
            if model.encoder is not None and learns(model.encoder):
                self.groups.append(list(model.encoder.encoder_layers))
            if isinstance(model.llm, LLM):
                self.groups += [list(stack) for stack in model.llm.stacks]
        self._plain = {
            layer: vars(layer).get("forward") for group in self.groups for layer in group
        }
        self._compiled: dict[nn.Module, Forward] = {}

    def compile(self) -> None:
        """Let torch compile each layer, attention over packs left out: its loop over samples
        would be compiled anew for every batch."""
        stay_out_of_graphs()
        for group in self.groups:
            for layer in group:
                self._compiled[layer] = torch.compile(layer.forward, dynamic=True)
        self.recompute(_none)

    def recompute(self, which: Callable[[int], Container[int]]) -> None:
        """From now on, of each group of so many layers, keep only the inputs of `which`."""
        self.again = which
        for group in self.groups:
            again = which(len(group))
            for index, layer in enumerate(group):
                self._restore(layer)
                forward = self._compiled.get(layer, layer.forward)
                if index in again:
                    forward = functools.partial(_twice, forward)
                if forward is not layer.forward:
                    self.wrap(layer, forward)

    def wrap(self, layer: nn.Module, forward: Forward) -> None:
        """Run `forward` in the place of the layer's own."""
        layer.forward = forward

    def restore(self) -> None:
        """Leave every layer as it was."""
        self._compiled.clear()
        for layer in self._plain:
            self._restore(layer)

    def _restore(self, layer: nn.Module) -> None:
        vars(layer).pop("forward", None)
        if (plain := self._plain[layer]) is not None:
            layer.forward = plain


def _none(count: int) -> range:
    return range(0)


def _twice(forward: Forward, *inputs: Any, **more: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **more)
    return checkpoint(forward, *inputs, use_reentrant=False, **more)
