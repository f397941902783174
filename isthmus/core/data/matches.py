"""Matches of an image and a text: the batch of every objective that compares the two.

The text of a sample is what its assistant says; what the user asks is left out, since captions come
with requests that are the same for all of them. A sample must have exactly one image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from isthmus.core.contracts import (
    ConnectorText,
    Grids,
    Images,
    Mixed,
    Preparer,
    Sample,
    Tools,
)
from isthmus.core.contracts.transfer import send
from isthmus.core.data.images import picture_size
from isthmus.core.data.view import compared, look, picture_name, transform_of
from isthmus.errors import PartError, Unsupervised

T = TypeVar("T")
VECTORS = "vectors"
"""Under what name objectives leave pictures, (matches dim) or (matches queries dim), and texts,
(matches dim), of which the best product says how alike they are."""
EVERYONE = "everyone"
"""Under what name the matches of all processes stand."""
SIMILARITIES = "similarities"
"""Under what name they leave logits (matches all) of their pictures with all texts, and of their
texts with all pictures."""


@dataclass(frozen=True)
class Match:
    """One image and its text in ids. Equal pictures have equal `image_key`s, equal texts equal
    `text_key`s; `sample_key` follows from the sample's id."""

    id: str
    images: Images
    ids: tuple[int, ...]
    num_tokens: int
    image_key: int
    text_key: int
    sample_key: int


@dataclass(frozen=True)
class Matches:
    """Image i and text i belong together; `weight` is their number, or 0 for matches that only keep
    a process busy.

    `keys` (matches 3) int64: of each match its image's, its text's and its sample's, as `Match` has
    them; `lengths` the texts' tokens, those around them counted in. `memo`, where there is one,
    keeps what several objectives would compute alike, and what one leaves for another.
    """

    images: Images
    text: ConnectorText
    keys: Tensor
    samples: tuple[str, ...]
    num_tokens: int
    lengths: tuple[int, ...]
    weight: float
    memo: dict[str, Any] | None = field(default=None, repr=False, compare=False)

    @property
    def num_images(self) -> int:
        return len(self.images)

    @property
    def num_words(self) -> int:
        """Tokens of all texts."""
        return sum(self.lengths)

    def to(self, device: torch.device) -> Matches:
        return replace(
            self,
            images=self.images.to(device),
            text=self.text.to(device),
            keys=send(self.keys, device),
            memo=None,
        )

    def left(self, name: str) -> Any:
        """What another objective has left here; None where there is none."""
        return (self.memo or {}).get(name)

    def leave(self, name: str, value: Any) -> None:
        """Leave something for objectives that run after this one."""
        if self.memo is not None:
            self.memo[name] = value

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """What `compute` gives; computed once for all who ask under this name."""
        if self.memo is None:
            return compute()
        if name not in self.memo:
            self.memo[name] = compute()
        found: T = self.memo[name]
        return found


@dataclass(frozen=True)
class MatchPreparer(Preparer):
    """Samples into matches, whose texts are read by the tokenizer of the part `reader`: connector,
    llm or text_encoder."""

    tools: Tools
    reader: str

    def length(self, sample: Sample) -> int:
        _only_image(sample)
        grids = transform_of(self.tools).grids(picture_size(sample.images[0], sample.origin))
        return len(self._ids(_text(sample))) + self._places(grids)

    def prepare(self, sample: Sample) -> Match:
        _only_image(sample)
        text = _text(sample)
        ids = self._ids(text)
        view = look(sample.images[0], sample.origin, self.tools)
        return Match(
            id=sample.id,
            images=view.images(),
            ids=ids,
            num_tokens=len(ids) + self._places(view.grids),
            image_key=_key(picture_name(sample.images[0])),
            # What reads the same is equal, be it written in another case, or other where it is cut.
            text_key=_key(str(self._ids(" ".join(text.split())))),
            sample_key=_key(f"{sample.id}\n{sample.origin}"),
        )

    def collate(self, examples: Sequence[Match]) -> Matches:
        keys = [(match.image_key, match.text_key, match.sample_key) for match in examples]
        return Matches(
            images=compared(Images.joined([match.images for match in examples])),
            text=ConnectorText.of([match.ids for match in examples]),
            keys=torch.tensor(keys, dtype=torch.long),
            samples=tuple(match.id for match in examples),
            num_tokens=sum(match.num_tokens for match in examples),
            lengths=tuple(len(match.ids) for match in examples),
            weight=float(len(examples)),
        )

    def _ids(self, text: str) -> tuple[int, ...]:
        tokenizers = {
            "text_encoder": self.tools.text_tokenizer,
            "llm": self.tools.tokenizer,
            "connector": self.tools.connector_tokenizer,
        }
        tokenizer = tokenizers[self.reader]
        if tokenizer is None:
            raise PartError(f"texts are to be read by the {self.reader}, which has no tokenizer")
        return read(text, tokenizer, self.tools.max_length)

    def _places(self, grids: Grids) -> int:
        if self.reader == "connector" and self.tools.num_tokens is not None:
            return self.tools.num_tokens(grids)
        return sum(grid.num_features for grid in grids)


def shared(batch: Any) -> Any:
    """The batch, with room for what is computed once, and for what is left behind."""
    if isinstance(batch, Mixed):
        each = {id(own): shared(own) for own in batch.batches}
        return Mixed(tuple(each[id(own)] for own in batch.batches))
    return replace(batch, memo={}) if isinstance(batch, Matches) and batch.memo is None else batch


def text_of(sample: Sample) -> str:
    """What the assistant says, turn after turn."""
    said = (turn.text.strip() for turn in sample.turns if turn.role == "assistant")
    return " ".join(words for words in said if words)


def read(text: str, tokenizer: Any, longest: int | None = None) -> tuple[int, ...]:
    """Ids of a text between the tokenizer's first and last control token ([CLS] and [SEP], or start
    and end of text), both of which stay when it is cut to what the model, or `longest`, allows."""
    # It is cut below, which the tokenizer does not know and would warn of.
    plain = {"split_special_tokens": True, "add_special_tokens": False, "verbose": False}
    found = tokenizer(text, **plain)["input_ids"]
    first, last = edges(tokenizer)
    before = [] if first is None else [first]
    after = [] if last is None else [last]
    room = min(tokenizer.model_max_length, longest or tokenizer.model_max_length)
    return (*before, *found[: max(1, room - len(before) - len(after))], *after)


def edges(tokenizer: Any) -> tuple[int | None, int | None]:
    """Ids of the control tokens that a text begins and ends with."""
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    return (
        tokenizer.bos_token_id if first is None else first,
        tokenizer.eos_token_id if last is None else last,
    )


def _text(sample: Sample) -> str:
    text = text_of(sample)
    if not text:
        raise Unsupervised(f"{sample.origin}: sample {sample.id!r} has no text to compare")
    return text


def _only_image(sample: Sample) -> None:
    if len(sample.images) != 1:
        raise Unsupervised(
            f"{sample.origin}: sample {sample.id!r} has {len(sample.images)} images; a match is of "
            "one image and its text"
        )


def _key(name: str) -> int:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)
