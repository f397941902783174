"""Samples as sources and targets: what an encoder-decoder learns from.

Every answer of a conversation makes one pair, as it would be asked for: its source is all that
comes before it, earlier answers included, and it alone is the target. So as many tokens are
learnt as a decoder learns of the same conversation. (The last answer alone would throw away most
of LLaVA's; one source for all would show the encoder the answers.) Sources are as long as they
are, but an image that stands in several of them is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from isthmus.core.contracts import ConnectorText, Images, Pack, Pairs, Sample, Segments, Tools
from isthmus.core.data.encode import Layout, lengthen_prefix
from isthmus.core.data.view import compared
from isthmus.core.data.written import (
    joined,
    measured,
    template_of,
    texts_of,
    unsupervised,
    written,
)
from isthmus.errors import PartError


@dataclass(frozen=True)
class EncodedPairs:
    """One sample's pairs. Of each, `sources` (tokens), `visual` the places of visual tokens in
    it, `ids` (tokens) that the decoder reads and `targets` (tokens) that it is to say. The images
    of the last source, which has all of them, come in order; others show the first of those."""

    id: str
    sources: tuple[Tensor, ...]
    visual: tuple[Tensor, ...]
    ids: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    images: Images | None
    texts: tuple[tuple[int, ...], ...] = ()

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.sources)) + sum(map(len, self.ids))


def encode_pairs(sample: Sample, tools: Tools, given: float = 0.0) -> EncodedPairs:
    """A sample to train on: the pairs of the conversation cut to `tools.max_length`. Of its first
    answer a share is `given`: it stands in the source, and is not learnt.

    Raises ImageError, and Unsupervised when no token of an answer is there to be learnt.
    """
    layout, views = written(sample, template_of(tools).spans, tools, _most(tools))
    layout = lengthen_prefix(layout, given)
    cuts = list(_cuts(layout))
    if not cuts:
        raise unsupervised(sample, tools)
    ids = torch.tensor(layout.ids, dtype=torch.long)
    places = torch.tensor(layout.visual, dtype=torch.long)
    starts, ends = (torch.tensor(x, dtype=torch.long) for x in (tools.starts, tools.ends))
    last = cuts[-1][0]
    pairs = list(zip(layout.images, layout.stands, strict=True))
    kept = [image for image, stand in pairs if stand < last]
    silent = torch.full_like(starts[1:], Pack.IGNORE)
    return EncodedPairs(
        id=sample.id,
        sources=tuple(torch.cat([ids[:begin], ends]) for begin, _ in cuts),
        visual=tuple(places[places < begin] for begin, _ in cuts),
        ids=tuple(torch.cat([starts, ids[begin : end - 1]]) for begin, end in cuts),
        targets=tuple(torch.cat([silent, ids[begin:end]]) for begin, end in cuts),
        images=joined(views, kept),
        texts=texts_of(sample, kept, tools),
    )


def count_pair_tokens(sample: Sample, tools: Tools) -> int:
    """Tokens of `encode_pairs`, from pictures' headers alone. Raises ImageError."""
    layout = measured(sample, template_of(tools).spans, tools, _most(tools))
    more = len(tools.ends) + len(tools.starts) - 1
    return sum(end + more for _, end in _cuts(layout))


def collate_pairs(examples: Sequence[EncodedPairs]) -> Pairs:
    """The pairs of these samples, end to end; at least one."""
    sources = [source for example in examples for source in example.sources]
    ids = [each for example in examples for each in example.ids]
    targets = torch.cat([each for example in examples for each in example.targets])
    lengths = Segments(tuple(map(len, sources)))
    all_places = [places for example in examples for places in example.visual]
    starts = zip(all_places, lengths.offsets, strict=False)
    images = [example.images for example in examples if example.images is not None]
    texts = [text for example in examples for text in example.texts]
    return Pairs(
        source_ids=torch.cat(sources),
        sources=lengths,
        visual=torch.cat([places + start for places, start in starts]),
        shows=torch.cat(list(_shows(examples))),
        images=compared(Images.joined(images)) if images else None,
        ids=torch.cat(ids),
        targets=targets,
        segments=Segments(tuple(map(len, ids))),
        samples=tuple(example.id for example in examples),
        weight=float((targets != Pack.IGNORE).sum()),
        text=ConnectorText.of(texts) if texts else None,
    )


def _shows(examples: Sequence[EncodedPairs]) -> Iterator[Tensor]:
    """Of each source the visual tokens that go into it, counted through all samples'."""
    before = 0
    for example in examples:
        for places in example.visual:
            yield torch.arange(before, before + len(places))
        before += len(example.visual[-1])


def _cuts(layout: Layout) -> Iterator[tuple[int, int]]:
    """Where each answer begins and ends."""
    for begin, following in pairwise((*layout.begins, len(layout.ids))):
        end = begin
        while end < following and layout.supervised[end]:
            end += 1
        yield begin, end


def _most(tools: Tools) -> int | None:
    """Tokens of a conversation whose last pair has `max_length`."""
    if not tools.starts:
        raise PartError("sources and targets are for an encoder-decoder, and the llm is none")
    if tools.max_length is None:
        return None
    return max(0, tools.max_length - len(tools.ends) - len(tools.starts) + 1)
