"""The last layers of a part learn, and all before them stays as it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from pydantic import PositiveInt
from torch import nn

from isthmus import hookimpl
from isthmus.core.contracts import LLM, Encoder, ParameterGroup, Tuner
from isthmus.errors import PartError


class LastLayers(Tuner, name="last_layers"):
    """Trains the last blocks of the part: of an LLM the decoder's, of an encoder those that run
    last. Norms and heads behind them stay as they are."""

    class Config(Tuner.Config):
        """Configuration of `last_layers`."""

        layers: PositiveInt = 1
        """How many of them learn, counted from the end."""

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    def apply(self, part: nn.Module) -> None:
        part.requires_grad_(False)
        for layer in self._learning(part).values():
            layer.requires_grad_(True)

    def groups(self, part: nn.Module) -> list[ParameterGroup]:
        learning = {
            f"{name}.{key}": parameter
            for name, layer in self._learning(part).items()
            for key, parameter in layer.named_parameters()
        }
        return [ParameterGroup("last_layers", learning, lr=self.config.lr)]

    def _learning(self, part: nn.Module) -> dict[str, nn.Module]:
        """Name -> layer, of those that learn."""
        layers, what = _layers(part), type(part).__name__
        names = {id(module): name for name, module in part.named_modules()}
        found = {names[id(layer)]: layer for layer in layers}
        stacks = sorted({name.rpartition(".")[0] for name in found})
        if len(stacks) > 1:
            raise PartError(
                f"tuner last_layers: {what} has layers in {' and '.join(stacks)}; name one of "
                f"them: {{type: by_module, modules: {{{stacks[-1]}: {{type: last_layers}}}}}}"
            )
        if not found:
            raise PartError(
                f"tuner last_layers: {what} has no list of layers; write `full`, or name what "
                "learns by `by_module`"
            )
        if len(found) < self.config.layers:
            raise PartError(
                f"tuner last_layers: layers: {self.config.layers} of them, and {what} has "
                f"{len(found)} with weights; write at most `layers: {len(found)}`"
            )
        return dict(list(found.items())[-self.config.layers :])


def _layers(part: nn.Module) -> Sequence[nn.Module]:
    """The part's blocks, in the order in which they run, without those that have no weights."""
    if isinstance(part, LLM):
        return list(part.decoder_layers)
    layers: Sequence[nn.Module] = part.encoder_layers if isinstance(part, Encoder) else ()
    return layers or [layer for stack in _outermost(part) for layer in stack if _weighs(layer)]


def _outermost(part: nn.Module) -> list[nn.ModuleList | nn.Sequential]:
    """Lists of modules that lie in no other one; the part itself, where it is one."""
    found, waiting = [], deque([part])
    while waiting:
        module = waiting.popleft()
        if isinstance(module, nn.ModuleList | nn.Sequential):
            found.append(module)
        else:
            waiting.extend(module.children())
    return found


def _weighs(layer: nn.Module) -> bool:
    return any(True for _ in layer.parameters())


@hookimpl
def register_tuners(register: Callable[[type], None]) -> None:
    register(LastLayers)
