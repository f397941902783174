"""A connector in a tiny model: what it promises of packs, and of batches without an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from isthmus.core.contracts import (
    LLM,
    VISUAL_SEEN,
    VISUAL_STATES,
    AnyConnector,
    CrossAttentionConnector,
    CrossAttentionStates,
    Encoder,
    Features,
    Images,
    Pack,
    Segments,
    TokenCount,
)
from isthmus.core.model.layout import sees
from isthmus.core.model.vlm import VisionLanguageModel, learns
from isthmus.testing.promises import build, check_gradient, close, promise
from isthmus.testing.tiny import tiny_llm_config, tiny_texts

DIM, LAYERS = 32, 2
"""Width and depth of the tiny LLM."""


class Shown(Encoder):
    """Stands where an encoder would, and gives features that were there before. The pixels of an
    image are its number."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = features
        self.dim = features.values.shape[1]

    def images(self, numbers: Sequence[int]) -> Images:
        return Images(
            pixels=torch.tensor(numbers, dtype=torch.uint8)[:, None, None, None],
            crops=(1,) * len(numbers),
            grids=tuple(self.features.grids[number] for number in numbers),
        )

    def forward(self, images: Images) -> Features:
        runs = self.features.runs()
        numbers = images.pixels.flatten().tolist()
        return Features(torch.cat([runs[number] for number in numbers]), images.grids)

    def blank(self) -> Images:
        return self.images([0])


def check_in_model(connector: AnyConnector, features: Features) -> None:
    """Samples of a pack are what they are alone, with images and without; and where a batch has
    no image, nothing is added to it, and yet everything learns."""
    name = type(connector).__qualname__
    encoder = Shown(features)
    model = VisionLanguageModel(encoder, connector, _llm()).requires_grad_(False).eval()
    count = connector.config.num_tokens
    last = len(features.grids) - 1
    samples = [[0], [], [last, 0], []]
    together = model.hidden(_pack(encoder, count, samples))
    alone = [model.hidden(_pack(encoder, count, [sample])) for sample in samples]
    close(together, torch.cat(alone), f"{name}: samples in a pack, and each alone")

    connector.requires_grad_(True)
    if not learns(connector):
        return
    without = _pack(encoder, count, [[], []])
    if not isinstance(connector, CrossAttentionConnector):
        bare = VisionLanguageModel(llm=model.llm).hidden(without)
        close(model.hidden(without), bare, f"{name}: a batch without images, and the LLM by itself")
    check_gradient(connector, lambda: model.hidden(without))


def check_in_llm(connector: CrossAttentionConnector, features: Features) -> None:
    """Freshly attached, its gates at zero, it changes nothing, not one bit. With gates open, a
    token sees the images that stand before it in its own sample, and no other."""
    llm = _llm()
    text, both, alone = llm.embed(torch.arange(3, 13)), Segments((6, 4)), Segments((4,))
    runs = torch.split(features.values, list(features.counts))
    first, second = features.grids[0], features.grids[-1]
    pair = Features(torch.cat([runs[0], runs[-1]]), (first, second))
    other = Features(torch.cat([-runs[0], runs[-1]]), (first, second))
    last = Features(runs[-1], (second,))

    def read(seen: Features, stands: Sequence[tuple[int, int]] = ((0, 2), (1, 1))) -> Tensor:
        """Two samples: in the first an image behind two tokens, in the second behind one."""
        hidden: Tensor = llm(text, both, _layer_inputs(connector(seen), both, stands))
        return hidden

    name = f"{type(connector).__qualname__}.attach"
    before = llm(text, both)
    handles = connector.attach(llm)
    promise(len(handles) > 0, f"{name}: it must return the handles of its hooks")
    promise(
        torch.equal(before, read(pair)),
        f"{name}: with its gates at zero the LLM's output must be the same to the last bit",
    )
    _open_gates(connector)
    packed, changed = read(pair), read(other)
    single = llm(text[6:], alone, _layer_inputs(connector(last), alone, [(0, 1)]))
    close(packed[6:], single, f"{name}: a sample in a pack, and alone")
    close(packed[:2], changed[:2], f"{name}: tokens before an image, whatever the image shows")
    promise(
        not torch.equal(packed[2:6], changed[2:6]),
        f"{name}: tokens behind an image must follow from it",
    )
    blind = read(pair, ()), read(other, ())
    close(*blind, f"{name}: tokens that see no image, whatever an image shows")
    check_gradient(connector, lambda: read(pair))
    for handle in handles:
        handle.remove()
    promise(
        torch.equal(before, llm(text, both)),
        f"{name}: its hooks removed, the LLM's output must be what it was",
    )


def _llm() -> Any:
    llm: LLM = build(tiny_llm_config(), texts=tiny_texts).eval()
    return llm.requires_grad_(False)


def _pack(encoder: Shown, num_tokens: TokenCount, samples: Sequence[Sequence[int]]) -> Pack:
    """Samples with images of these numbers, each behind two words, and three words at the end."""
    shown = [number for sample in samples for number in sample]
    ids: list[int] = []
    visual: list[int] = []
    stands: list[tuple[int, int]] = []
    lengths = []
    for number, sample in enumerate(samples):
        start = len(ids)
        for image in sample:
            ids += [5, 6]
            stands.append((number, len(ids) - start))
            places = num_tokens(encoder.features.grids[image])
            visual += range(len(ids), len(ids) + places)
            ids += [0] * places
        ids += [7, 8, 9]
        lengths.append(len(ids) - start)
    tokens = torch.tensor(ids)
    return Pack(
        ids=tokens,
        targets=torch.full_like(tokens, Pack.IGNORE),
        segments=Segments(tuple(lengths)),
        visual=torch.tensor(visual, dtype=torch.long),
        images=encoder.images(shown) if shown else None,
        stands=torch.tensor(stands, dtype=torch.long).reshape(-1, 2),
        samples=tuple(map(str, range(len(samples)))),
        weight=1.0,
    )


@torch.no_grad()
def _open_gates(connector: CrossAttentionConnector) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in connector.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def _layer_inputs(
    states: CrossAttentionStates, segments: Segments, stands: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    places = torch.tensor(stands, dtype=torch.long).reshape(-1, 2)
    seen = sees(segments, places, len(states.mask))
    return {VISUAL_STATES: states, VISUAL_SEEN: seen}
