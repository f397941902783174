"""A sample written out for a model: its ids, with places for its images, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from isthmus.core.contracts import Grids, Images, Sample, Span, Template, Tools, Turn
from isthmus.core.data.encode import Layout, Tokens, lay_out, tokenize
from isthmus.core.data.images import picture_size
from isthmus.core.data.view import View, look, transform_of
from isthmus.errors import DataError, PartError, Unsupervised

Write = Callable[[Sequence[Turn], Any], list[Span]]
"""`spans` or `prompt` of a template."""


def written(
    sample: Sample, write: Write, tools: Tools, max_length: int | None
) -> tuple[Layout, list[View]]:
    """The sample, cut to `max_length`, and all of its pictures. Raises ImageError."""
    tokens = _tokens(sample, write, tools)
    views = [look(picture, sample.origin, tools) for picture in sample.images]
    places = {index: _places(view.grids, tools) for index, view in enumerate(views)}
    return lay_out(tokens, places, max_length), views


def measured(sample: Sample, write: Write, tools: Tools, max_length: int | None) -> Layout:
    """The same from pictures' headers alone. Raises ImageError."""
    tokens = _tokens(sample, write, tools)
    places = {}
    for index, picture in enumerate(sample.images):
        grids = transform_of(tools).grids(picture_size(picture, sample.origin))
        places[index] = _places(grids, tools)
    return lay_out(tokens, places, max_length)


def joined(views: Sequence[View], kept: Sequence[int]) -> Images | None:
    """Those of these numbers as one batch."""
    images = [views[index].images() for index in kept]
    return Images.joined(images) if images else None


def texts_of(sample: Sample, images: Sequence[int], tools: Tools) -> tuple[tuple[int, ...], ...]:
    """The words of the turn that each image came with, in ids of the connector's tokenizer."""
    tokenizer = tools.connector_tokenizer
    if tokenizer is None or not images:
        return ()
    words = {slot.index: turn.text.strip() for turn in sample.turns for slot in turn.slots}
    rows = tokenizer([words[index] for index in images], split_special_tokens=True)["input_ids"]
    return tuple(tuple(row[: tokenizer.model_max_length]) for row in rows)


def template_of(tools: Tools) -> Template:
    """Raises PartError where there is none, or nothing to write for."""
    if tools.template is None or tools.tokenizer is None:
        raise PartError("conversations need an llm, for its tokenizer, and a `template`")
    return tools.template


def unsupervised(sample: Sample, tools: Tools) -> Unsupervised:
    """What to raise when no token of an answer is there to be learnt."""
    return Unsupervised(
        f"{sample.origin}: sample {sample.id!r} has nothing to learn: no answer, or none "
        f"within the first {tools.max_length} tokens (`max_length`)"
        if tools.max_length
        else f"{sample.origin}: sample {sample.id!r} has no answer to learn"
    )


def _tokens(sample: Sample, write: Write, tools: Tools) -> Tokens:
    try:
        return tokenize(write(sample.turns, tools.tokenizer), tools.tokenizer)
    except DataError as error:
        raise DataError(f"{sample.origin}: {error}") from None


def _places(grids: Grids, tools: Tools) -> int:
    if tools.num_tokens is None:
        raise PartError("the data has images; for an llm it takes an encoder and a connector")
    return tools.num_tokens(grids)
