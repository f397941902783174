"""A conversation in ids: which of them are to be learnt, and where images have their places.

Labels come from the rendered conversation by character offsets: text is tokenised run by
run, never piece by piece, and supervised are the tokens that overlap an answer, its stop, or
the space that separates it from its prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, ClassVar

from isthmus.core.contracts import ControlSpan, ImageSpan, NoStart, Span, TextSpan
from isthmus.core.data.runs import Token, run_tokenizer

Fixed = ControlSpan | ImageSpan


@dataclass(frozen=True)
class Tokens:
    """A conversation in ids: IMAGE where an image stands, `images` saying which ones, in
    order; `supervised[i]` says that id i is to be learnt. `begins` are the places where answers
    begin, of those that are learnt."""

    IMAGE: ClassVar[int] = -1

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    images: tuple[int, ...]
    begins: tuple[int, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A conversation in places: an image takes as many as it has visual tokens.

    `visual` are their positions, image after image; `images` which images are there, and
    `stands` how many ids come before each; `begins` where answers begin. An id at a visual
    position means nothing.
    """

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    visual: tuple[int, ...]
    images: tuple[int, ...]
    stands: tuple[int, ...]
    begins: tuple[int, ...] = ()


def tokenize(spans: Sequence[Span], tokenizer: Any) -> Tokens:
    """Spans of a template in ids. Text stays text: only a ControlSpan, or a special string in
    text that is not `typed`, becomes a control token. Raises PartError for a control token
    that the tokenizer does not have."""
    text = "".join(span.text for span in spans if isinstance(span, TextSpan))
    controls = {span.token for span in spans if isinstance(span, ControlSpan)}
    runs = run_tokenizer(tokenizer, text, controls)
    groups = list(_groups(runs.split(spans)))
    for _, fixed in groups:
        runs.name(fixed)
    ids = [] if NoStart() in spans[:1] else list(runs.start)
    supervised = [False] * len(ids)
    images: list[int] = []
    begins: list[int] = []
    left: Fixed | None = None
    for texts, right in groups:
        text, answers = _joined(texts)
        starts = [begin for begin, _ in answers if begin]
        tokens = runs.encode(text, starts, left, right) if text else []
        ids += [id for id, _, _ in tokens]
        goes_on = bool(supervised and supervised[-1])
        learnt = _learnt(tokens, answers)
        begins += [len(supervised) + at for at in _begins(tokens, learnt, answers, goes_on)]
        supervised += learnt
        if isinstance(right, ControlSpan):
            if right.supervised and not (supervised and supervised[-1]):
                begins.append(len(ids))
            ids.append(runs.id(right.token))
            supervised.append(right.supervised)
        elif isinstance(right, ImageSpan):
            ids.append(Tokens.IMAGE)
            supervised.append(False)
            images.append(right.index)
        left = right
    return Tokens(tuple(ids), tuple(supervised), tuple(images), tuple(begins))


def _groups(spans: Iterable[Span]) -> Iterator[tuple[list[TextSpan], Fixed | None]]:
    """Adjacent text, and the control token or image that it ends before."""
    texts: list[TextSpan] = []
    for span in spans:
        if isinstance(span, TextSpan):
            texts.append(span)
        elif not isinstance(span, NoStart):
            yield texts, span
            texts = []
    yield texts, None


def _joined(texts: Sequence[TextSpan]) -> tuple[str, list[tuple[int, int]]]:
    """A run of text, and the places [begin, end) in it that are supervised. Text that is not
    parts two answers even when it is empty."""
    text = ""
    answers: list[tuple[int, int]] = []
    joins = False
    for span in texts:
        begin, text = len(text), text + span.text
        if span.supervised and span.text:
            answers.append((answers.pop()[0] if joins else begin, len(text)))
        joins = span.supervised and (joins or bool(span.text))
    return text, answers


def _learnt(tokens: Sequence[Token], answers: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether each token of a run overlaps an answer."""
    if not answers:
        return [False] * len(tokens)
    # A token may stand for no character, like the dummy space before a newline.
    spans = [(begin, max(end, begin + 1)) for _, begin, end in tokens]
    return [any(b < end and e > begin for begin, end in answers) for b, e in spans]


def _begins(
    tokens: Sequence[Token],
    learnt: Sequence[bool],
    answers: Sequence[tuple[int, int]],
    goes_on: bool,
) -> list[int]:
    """The tokens of a run at which an answer begins; the first may go on from before the run."""
    found: list[int] = []
    for begin, _ in answers:
        reached = (at for at, (_, _, end) in enumerate(tokens) if learnt[at] and end > begin)
        at = next(reached, None)
        if at is not None and at not in found and not (goes_on and at == 0):
            found.append(at)
    return found


def lay_out(tokens: Tokens, places: Mapping[int, int], max_length: int | None = None) -> Layout:
    """Give every image its places, `places[index]` of them, and cut what is too long.

    An image is never cut through: one that would be is left out with all that follows it.
    """
    ids: list[int] = []
    supervised: list[bool] = []
    visual: list[int] = []
    kept: list[int] = []
    stands: list[int] = []
    begins: list[int] = []
    images = iter(tokens.images)
    answers = set(tokens.begins)
    for place, (id, learnt) in enumerate(zip(tokens.ids, tokens.supervised, strict=True)):
        index = next(images) if id == Tokens.IMAGE else None
        count = 1 if index is None else places[index]
        if max_length is not None and len(ids) + count > max_length:
            break
        if place in answers:
            begins.append(len(ids))
        if index is not None:
            visual += range(len(ids), len(ids) + count)
            kept.append(index)
            stands.append(len(ids))
        ids += [max(id, 0)] * count
        supervised += [learnt] * count
    return Layout(
        tuple(ids), tuple(supervised), tuple(visual), tuple(kept), tuple(stands), tuple(begins)
    )


def lengthen_prefix(layout: Layout, share: float) -> Layout:
    """The first answer's first tokens, a share of them below 1, are read and no longer learnt;
    at least one stays to be learnt."""
    if not layout.begins:
        return layout
    begin = layout.begins[0]
    end = next((at for at in layout.begins[1:]), len(layout.ids))
    length = sum(1 for _ in takewhile(bool, layout.supervised[begin:end]))
    given = min(int(share * length), length - 1)
    supervised = list(layout.supervised)
    supervised[begin : begin + given] = [False] * given
    begins = (begin + given, *layout.begins[1:])
    return replace(layout, supervised=tuple(supervised), begins=begins)
