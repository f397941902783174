"""Samples in tensors, and packs of them: what every objective that predicts next tokens eats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isthmus.core.contracts import (
    ConnectorText,
    Grids,
    Images,
    Pack,
    Sample,
    Segments,
    Span,
    Template,
    Tools,
    Turn,
)
from isthmus.core.data.encode import Tokens, lay_out, tokenize
from isthmus.core.data.images import picture_size
from isthmus.core.data.view import compared, look, transform_of
from isthmus.errors import DataError, PartError, Unsupervised

Write = Callable[[Sequence[Turn], Any], list[Span]]
"""`spans` or `prompt` of a template."""


@dataclass(frozen=True)
class Encoded:
    """One sample, ready for a pack. `ids`, `targets` (tokens), `visual` (visual): as in Pack;
    `stands` how many tokens come before each image, `texts` what a connector reads beside it.
    """

    id: str
    ids: Tensor
    targets: Tensor
    visual: Tensor
    images: Images | None
    stands: tuple[int, ...] = ()
    texts: tuple[tuple[int, ...], ...] = ()

    @property
    def num_tokens(self) -> int:
        return len(self.ids)


def encode_sample(sample: Sample, tools: Tools) -> Encoded:
    """A sample to train on, cut to `tools.max_length`.

    Raises ImageError, and Unsupervised when no token of an answer is there to be learnt.
    """
    template = _template(tools)
    encoded = _encode(sample, template.spans, tools, tools.max_length)
    if bool((encoded.targets == Pack.IGNORE).all()):
        raise Unsupervised(
            f"{sample.origin}: sample {sample.id!r} has nothing to learn: no answer, or none "
            f"within the first {tools.max_length} tokens (`max_length`)"
            if tools.max_length
            else f"{sample.origin}: sample {sample.id!r} has no answer to learn"
        )
    return encoded


def encode_prompt(sample: Sample, tools: Tools) -> Encoded:
    """What an answer is to follow: a sample that ends with a user's turn. Nothing is cut,
    nothing is a target. Raises ImageError."""
    template = _template(tools)
    return _encode(sample, template.prompt, tools, None, learn=False)


def count_tokens(sample: Sample, tools: Tools) -> int:
    """Tokens of `encode_sample`, from pictures' headers alone. Raises ImageError."""
    template = _template(tools)
    tokens = _tokens(sample, template.spans, tools)
    places = {}
    for index, picture in enumerate(sample.images):
        grids = transform_of(tools).grids(picture_size(picture, sample.origin))
        places[index] = _places(grids, tools)
    return len(lay_out(tokens, places, tools.max_length).ids)


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
        segments=Segments(tuple(example.num_tokens for example in examples)),
        visual=torch.cat(visual),
        images=compared(Images.joined(images)) if images else None,
        stands=torch.tensor(stands, dtype=torch.long).reshape(-1, 2),
        text=ConnectorText.of(texts) if texts else None,
        samples=tuple(example.id for example in examples),
        weight=float((targets != Pack.IGNORE).sum()),
    )


def _encode(
    sample: Sample, write: Write, tools: Tools, max_length: int | None, learn: bool = True
) -> Encoded:
    tokens = _tokens(sample, write, tools)
    views = [look(picture, sample.origin, tools) for picture in sample.images]
    places = {index: _places(view.grids, tools) for index, view in enumerate(views)}
    layout = lay_out(tokens, places, max_length)
    ids = torch.tensor(layout.ids, dtype=torch.long)
    learnt = torch.tensor(layout.supervised, dtype=torch.bool)
    targets = torch.full_like(ids, Pack.IGNORE)
    if learn:
        # A position is asked for the token that follows it; a pack's next sample is none.
        targets[:-1] = torch.where(learnt[1:], ids[1:], Pack.IGNORE)
    kept = [views[index].images() for index in layout.images]
    return Encoded(
        id=sample.id,
        ids=ids,
        targets=targets,
        visual=torch.tensor(layout.visual, dtype=torch.long),
        images=Images.joined(kept) if kept else None,
        stands=layout.stands,
        texts=_texts(sample, layout.images, tools.connector_tokenizer),
    )


def _texts(sample: Sample, images: Sequence[int], tokenizer: Any) -> tuple[tuple[int, ...], ...]:
    """The words of the turn that each image came with, in ids of the connector's tokenizer."""
    if tokenizer is None or not images:
        return ()
    words = {slot.index: turn.text.strip() for turn in sample.turns for slot in turn.slots}
    rows = tokenizer([words[index] for index in images], split_special_tokens=True)["input_ids"]
    return tuple(tuple(row[: tokenizer.model_max_length]) for row in rows)


def _template(tools: Tools) -> Template:
    if tools.template is None or tools.tokenizer is None:
        raise PartError("conversations need an llm, for its tokenizer, and a `template`")
    return tools.template


def _tokens(sample: Sample, write: Write, tools: Tools) -> Tokens:
    try:
        return tokenize(write(sample.turns, tools.tokenizer), tools.tokenizer)
    except DataError as error:
        raise DataError(f"{sample.origin}: {error}") from None


def _places(grids: Grids, tools: Tools) -> int:
    if tools.num_tokens is None:
        raise PartError("the data has images; for an llm it takes an encoder and a connector")
    return tools.num_tokens(grids)
