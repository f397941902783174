"""What normalises learns, and all else stays as it is: the fewest weights that are worth it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import nn

from isthmus import hookimpl
from isthmus.core.contracts import ParameterGroup, Tuner
from isthmus.errors import PartError


class Norms(Tuner, name="norms"):
    """Trains the weights of normalisation layers (Zhao et al. 2023, arXiv:2312.11420), and, where
    asked for, all biases (BitFit, Ben Zaken et al. 2021, arXiv:2106.10199)."""

    class Config(Tuner.Config):
        """Configuration of `norms`."""

        biases: bool = False
        """Whether the biases of all layers learn, too."""

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    def apply(self, part: nn.Module) -> None:
        part.requires_grad_(False)
        learning = self._learning(part)
        if not learning:
            also = " and no biases" if self.config.biases else ""
            raise PartError(
                f"tuner norms: {type(part).__name__} has no normalisation layers with "
                f"weights{also}; there is nothing to train. Write `full`, or leave the part out"
            )
        for parameter in learning.values():
            parameter.requires_grad_(True)

    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        return [ParameterGroup("norms", self._learning(part), lr=self.config.lr)]

    def _learning(self, part: nn.Module) -> dict[str, nn.Parameter]:
        norms = {id(p) for norm in _norms(part) for p in norm.parameters(recurse=False)}
        return {
            name: parameter
            for name, parameter in part.named_parameters()
            if id(parameter) in norms or (self.config.biases and _is_bias(name))
        }


def _norms(part: nn.Module) -> Iterator[nn.Module]:
    """Layers that normalise: torch's, and those of a library's own, which share a name alone
    (`LlamaRMSNorm`, `T5LayerNorm`, timm's `LayerNorm2d`)."""
    own = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)
    for module in part.modules():
        name = type(module).__name__.removesuffix("2d")
        if isinstance(module, own) or name.endswith("Norm"):
            yield module


def _is_bias(name: str) -> bool:
    """`bias`, and `in_proj_bias` or `q_bias` where a layer holds those of others."""
    last = name.rpartition(".")[2]
    return last == "bias" or last.endswith("_bias")


@hookimpl
def register_tuners(register: Callable[[type], None]) -> None:
    register(Norms)
