"""How many operations it takes to look at a picture, found by looking at one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from isthmus.core.contracts import (
    AnyConnector,
    ConnectorText,
    CrossAttentionStates,
    Features,
    QueryConnector,
)
from isthmus.core.model.vlm import VisionLanguageModel, learns
from isthmus.core.train.flops import NO_SIGHT, NOTHING, Parabola, Sight
from isthmus.core.train.watching import rest, watching, watching_each


@dataclass(frozen=True)
class Seen:
    """What looking takes, the encoder for a crop `forward` alone, and whether what it gives carries
    a gradient. A connector by cross-attention gives the `states` of one image, and so many for its
    features (`count`)."""

    sight: Sight = NO_SIGHT
    forward: float = 0.0
    reaches: bool = False
    states: CrossAttentionStates | None = None
    count: Parabola = NOTHING


def look(model: VisionLanguageModel, device: torch.device, joins: bool = True) -> Seen:
    """Send one picture through the encoder and, where it `joins` an LLM, the connector, as far as
    there are any."""
    encoder, connector = model.encoder, model.connector
    if encoder is None:
        return Seen()
    blank = encoder.blank().to(device)
    with (
        watching(encoder) as looked,
        watching_each(encoder.encoder_layers) as layers,
        FlopCounterMode(display=False) as counter,
    ):
        features = model.encode(blank)
    crops = len(blank.pixels)
    attention = counter.get_total_flops() - looked.forward
    blocks = [layer.forward + attention / len(layers) for layer in layers]
    crop = looked.all + rest(counter, looked, features.values)
    once = not learns(encoder)
    each = () if once else tuple(block / crops for block in blocks)
    sight = Sight(crop / crops, blocks=each, once=once)
    forward = (looked.forward + attention) / crops
    if connector is None or not joins:
        return Seen(sight, forward)
    return replace(_joined(connector, features, sight), forward=forward)


def _joined(connector: AnyConnector, features: Features, sight: Sight) -> Seen:
    """With what a connector takes for an image without a word beside it, by its features, and for
    so many words.

    It may take something for an image as such (its queries), and let features or words attend to
    each other: so the image lies in a row once, twice and three times, and so do the words.
    """
    stored = next(connector.parameters(), features.values).dtype
    values = features.values.to(stored)
    reads = isinstance(connector, QueryConnector) and connector.tokenizer is not None

    def took(times: int, words: int) -> tuple[float, Tensor | CrossAttentionStates]:
        given: list[Any] = [Features(values.repeat(times, 1), (features.grids[0] * times,))]
        if reads:
            given.append(ConnectorText.of([[0] * words]).to(values.device))
        with watching(connector) as joined, FlopCounterMode(display=False) as counter:
            gave = connector(*given)
        tokens = gave.values if isinstance(gave, CrossAttentionStates) else gave
        return joined.all + rest(counter, joined, tokens), gave

    (one, gave), (two, more), (three, most) = (took(times, 1) for times in (1, 2, 3))
    image = Parabola.through(one, two, three, len(values))
    if isinstance(gave, CrossAttentionStates):
        first, second, third = (_states(each) for each in (gave, more, most))
        count = Parabola.through(first, second, third, len(values))
        return Seen(sight.joined(image), 0.0, gave.values.requires_grad, gave, count)
    if not reads:
        return Seen(sight.joined(image), reaches=gave.requires_grad)
    words = Parabola.through(one, took(1, 2)[0], took(1, 3)[0])
    alone = Parabola(image.a + words.a - one, image.b, image.c)
    reading = sight.joined(alone, Parabola(0.0, words.b, words.c))
    return Seen(reading, reaches=gave.requires_grad)


def _states(gave: Tensor | CrossAttentionStates) -> int:
    """Of one image."""
    return gave.mask.shape[1] if isinstance(gave, CrossAttentionStates) else 0
