"""Low-rank adaptation: small matrices learn beside the frozen weights of linear layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

from pydantic import Field
from torch import nn

from isthmus import hookimpl
from isthmus.core.contracts import LLM, HandOver, ParameterGroup, Tuner
from isthmus.errors import PartError, did_you_mean


class Lora(Tuner, name="lora"):
    """LoRA (Hu et al. 2021, arXiv:2106.09685), by the peft library, in place."""

    class Config(Tuner.Config):
        """Configuration of `lora`."""

        r: int = Field(default=8, gt=0)
        """Rank of what is added to a weight."""
        alpha: float = Field(default=16.0, gt=0)
        """What is added is scaled by alpha / r."""
        dropout: float = Field(default=0.0, ge=0, lt=1)
        """Dropout on the way into the added matrices."""
        targets: tuple[str, ...] | None = Field(default=None, min_length=1)
        """Linear layers by name or its end (`q_proj`); absent, all those of an LLM's
        blocks, or of the whole part."""
        hand_over: HandOver = "merge"
        """When the stage ends: `merge` folds what was learnt into the weights, `keep` leaves
        it beside them, for a later stage to take up."""

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    def apply(self, part: nn.Module) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        part.requires_grad_(False)
        layers = self._targets(part)
        if adapters := dict(_adapters(part)):
            self._take_up(adapters, layers)
            return
        if self.config.hand_over == "merge":
            _refuse_tied(part, layers)
        transposed = any(type(layer).__name__ == "Conv1D" for layer in layers.values())
        inject_adapter_in_model(
            LoraConfig(
                r=self.config.r,
                lora_alpha=self.config.alpha,
                lora_dropout=self.config.dropout,
                target_modules=list(layers),
                fan_in_fan_out=transposed,
            ),
            part,
        )

    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        learning = {name: p for name, p in part.named_parameters() if p.requires_grad}
        return [ParameterGroup("lora", learning, lr=self.config.lr)]

    def added(self, part: nn.Module) -> frozenset[str]:
        return frozenset(
            f"{layer}.{name}"
            for layer, adapter in _adapters(part)
            for name in adapter.state_dict()
            if name.startswith("lora_")
        )

    def finish(self, part: nn.Module) -> None:
        if self.config.hand_over == "keep":
            return
        for name, adapter in list(_adapters(part)):
            plain = adapter.get_base_layer()
            # In bf16 most of what was learnt would be rounded away.
            plain.weight.data = plain.weight.data.float()
            adapter.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(part.get_submodule(parent), child, plain)
        vars(part).pop("peft_config", None)

    def _targets(self, part: nn.Module) -> dict[str, nn.Module]:
        """Name -> linear layer, of those to adapt."""
        linear = {
            name.removesuffix(".base_layer"): layer
            for name, layer in part.named_modules()
            if name and _is_linear(layer) and ".lora_" not in name
        }
        if self.config.targets is None:
            if isinstance(part, LLM):
                blocks = {id(layer) for stack in part.stacks for layer in stack.modules()}
                linear = {name: layer for name, layer in linear.items() if id(layer) in blocks}
            if not linear:
                raise PartError(
                    f"tuner lora: {type(part).__name__} has no linear layer to adapt. Write `full` "
                    "or another tuner, or leave the part out of `train`"
                )
            return linear
        chosen: dict[str, nn.Module] = {}
        for target in self.config.targets:
            found = {name: layer for name, layer in linear.items() if _ends(name, target)}
            if not found:
                ends = sorted({name.rpartition(".")[2] for name in linear})
                raise PartError(
                    f"tuner lora: targets: no linear layer of {type(part).__name__} is called "
                    f"{target!r}.{did_you_mean(target, ends)} There are: {', '.join(ends)}"
                )
            chosen |= found
        return chosen

    def _take_up(self, adapters: dict[str, Any], layers: Collection[str]) -> None:
        """Train the matrices that an earlier stage left, if they are what is asked for."""
        again = "Ask for the same, or write `hand_over: merge` in the earlier stage"
        if apart := sorted(adapters.keys() ^ layers):
            which = "an adapter" if apart[0] in adapters else "adapters, but none"
            raise PartError(
                f"tuner lora: targets: an earlier stage left {which} at {apart[0]}, which is not "
                f"what this stage asks for. {again}"
            )
        for name, adapter in adapters.items():
            (found,) = zip(adapter.r.values(), adapter.lora_alpha.values(), strict=True)
            if found != (self.config.r, self.config.alpha):
                raise PartError(
                    f"tuner lora: an earlier stage left an adapter of rank {found[0]} and alpha "
                    f"{found[1]} at {name}, which is not what this stage asks for. {again}"
                )
        for adapter in adapters.values():
            for key in adapter.lora_dropout:
                adapter.lora_dropout[key] = nn.Dropout(self.config.dropout)
            for name, parameter in adapter.named_parameters():
                parameter.requires_grad_(name.startswith("lora_"))


def _adapters(part: nn.Module) -> Iterator[tuple[str, Any]]:
    """Name and layer of everything that carries adapters."""
    from peft.tuners.lora import LoraLayer

    for name, module in part.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def _refuse_tied(part: nn.Module, layers: dict[str, nn.Module]) -> None:
    """What is merged into a weight changes all that share it, like the embeddings of a head."""
    uses = Counter(id(p) for module in part.modules() for p in module._parameters.values())
    for name, layer in layers.items():
        if uses[id(layer.weight)] > 1:
            raise PartError(
                f"tuner lora: targets: {name} shares its weight with another layer, which merging "
                "would change too; leave it out, or write `hand_over: keep`"
            )


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


@hookimpl
def register_tuners(register: Callable[[type], None]) -> None:
    register(Lora)
