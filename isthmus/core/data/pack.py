"""Samples in tensors, and packs of them: what every objective that predicts next tokens eats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.core.contracts import ConnectorText, Images, Pack, Sample, Segments, Tools
from isthmus.core.data.encode import lengthen_prefix
from isthmus.core.data.view import compared
from isthmus.core.data.written import (
    Write,
    joined,
    measured,
    template_of,
    texts_of,
    unsupervised,
    written,
)


@dataclass(frozen=True)
class Encoded:
    """One sample, ready for a pack. `ids`, `targets` (tokens), `visual` (visual): as in Pack;
    `stands` how many tokens come before each image, `texts` what a connector reads beside it,
    `prefix` how many come before the first answer.
    """

    id: str
    ids: Tensor
    targets: Tensor
    visual: Tensor
    images: Images | None
    stands: tuple[int, ...] = ()
    texts: tuple[tuple[int, ...], ...] = ()
    prefix: int = 0

    @property
    def num_tokens(self) -> int:
        return len(self.ids)


def encode_sample(sample: Sample, tools: Tools, given: float = 0.0) -> Encoded:
    """A sample to train on, cut to `tools.max_length`. Of its first answer a share is `given`:
    part of the prefix, and not learnt.

    Raises ImageError, and Unsupervised when no token of an answer is there to be learnt.
    """
    encoded = _encode(sample, template_of(tools).spans, tools, tools.max_length, given=given)
    if bool((encoded.targets == Pack.IGNORE).all()):
        raise unsupervised(sample, tools)
    return encoded


def encode_prompt(sample: Sample, tools: Tools) -> Encoded:
    """What an answer is to follow: a sample that ends with a user's turn. Nothing is cut,
    nothing is a target. Raises ImageError."""
    return _encode(sample, template_of(tools).prompt, tools, None, learn=False)


def count_tokens(sample: Sample, tools: Tools) -> int:
    """Tokens of `encode_sample`, from pictures' headers alone. Raises ImageError."""
    return len(measured(sample, template_of(tools).spans, tools, tools.max_length).ids)


def collate(examples: Sequence[Encoded]) -> Pack:
    """Samples end to end in one pack; at least one."""
    starts = [0]
    for example in examples:
        starts.append(starts[-1] + example.num_tokens)
    visual = [e.visual + start for e, start in zip(examples, starts, strict=False)]
    targets = torch.cat([example.targets for example in examples])
    images = [example.images for example in examples if example.images is not None]
    stands = [(sample, at) for sample, e in enumerate(examples) for at in e.stands]
    texts = [text for example in examples for text in example.texts]
    return Pack(
        ids=torch.cat([example.ids for example in examples]),
        targets=targets,
        segments=Segments(
            tuple(example.num_tokens for example in examples),
            prefixes=tuple(example.prefix for example in examples),
        ),
        visual=torch.cat(visual),
        images=compared(Images.joined(images)) if images else None,
        stands=torch.tensor(stands, dtype=torch.long).reshape(-1, 2),
        text=ConnectorText.of(texts) if texts else None,
        samples=tuple(example.id for example in examples),
        weight=float((targets != Pack.IGNORE).sum()),
    )


def _encode(
    sample: Sample,
    write: Write,
    tools: Tools,
    max_length: int | None,
    *,
    learn: bool = True,
    given: float = 0.0,
) -> Encoded:
    layout, views = written(sample, write, tools, max_length)
    layout = lengthen_prefix(layout, given)
    ids = torch.tensor(layout.ids, dtype=torch.long)
    learnt = torch.tensor(layout.supervised, dtype=torch.bool)
    targets = torch.full_like(ids, Pack.IGNORE)
    if learn:
        # A position is asked for the token that follows it; a pack's next sample is none.
        targets[:-1] = torch.where(learnt[1:], ids[1:], Pack.IGNORE)
    else:
        # An encoder's sources end as its tokenizer ends every text.
        ids = torch.cat([ids, torch.tensor(tools.ends, dtype=torch.long)])
    return Encoded(
        id=sample.id,
        ids=ids,
        targets=targets,
        visual=torch.tensor(layout.visual, dtype=torch.long),
        images=joined(views, layout.images),
        stands=layout.stands,
        texts=texts_of(sample, layout.images, tools),
        prefix=next(iter(layout.begins), len(ids)),
    )
