"""A tokenizer, asked about one run of text between two control tokens.

A transformers tokenizer turns special strings into control tokens wherever it sees them, so
one that a user typed would become one too. Here every character of a run stays a character,
and yet its ids are those of the tokenizer on the whole rendered conversation: control tokens
that stand beside the run are put there under private names, since what a tokenizer does at
the edge of a run (a dummy space, stripped whitespace) depends on them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise, takewhile
from typing import Any
from weakref import WeakKeyDictionary

from isthmus.core.contracts import ControlSpan, ImageSpan, Span, TextSpan
from isthmus.errors import PartError

MARK = "\ue000isthmus"
"""What private names begin with: no text to be tokenised contains it."""


Token = tuple[int, int, int]
"""An id, and the characters [begin, end) of its run that it stands for."""


class RunTokenizer:
    """Ids of text runs, for one tokenizer, and for text that does not contain `mark`.

    `controls` are tokens that the tokenizer does not call special, though a template uses
    them as control tokens: they cannot be typed either.
    """

    def __init__(self, tokenizer: Any, mark: str, controls: frozenset[str]) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise PartError(
                f"{type(tokenizer).__name__} gives no character offsets, which labels are made "
                "from; use the model's fast tokenizer (a `tokenizer.json`)"
            )
        from tokenizers import AddedToken

        own = tokenizer.backend_tokenizer
        first = own.encode("x", add_special_tokens=True)
        marked = zip(first.ids, first.special_tokens_mask, strict=True)
        self.start = [id for id, special in takewhile(lambda pair: pair[1], marked)]
        """Ids that the tokenizer itself puts before every text."""
        self.backend = copy.deepcopy(own)
        self.backend.no_truncation()
        self.backend.no_padding()
        # Post-processors add start tokens and trim spaces off the offsets.
        self.backend.post_processor = None
        self.backend.encode_special_tokens = True
        self.added = {t.content: t for t in own.get_added_tokens_decoder().values()}
        self.special_ids = {
            id for id, token in own.get_added_tokens_decoder().items() if token.special
        }
        self.special_ids.discard(tokenizer.unk_token_id)
        specials = sorted((t.content for t in self.added.values() if t.special), key=len)
        self.special = re.compile("|".join(map(re.escape, reversed(specials))) or r"(?!)")
        self.backend.add_special_tokens([AddedToken(t, special=True) for t in sorted(controls)])
        # The same words come again and again: system turns, questions, the ends of prompts.
        self._tokens = lru_cache(maxsize=256)(self._encode)
        self.mark = mark
        self.names: dict[str | None, str] = {}

    def id(self, token: str) -> int:
        """Id of a control token. Raises PartError where the tokenizer has none."""
        number: int | None = self.backend.token_to_id(token)
        if number is None:
            raise PartError(
                f"the tokenizer has no control token {token!r}; use a template of its family, "
                "or write the token in characters (a TextSpan)"
            )
        return number

    def split(self, spans: Sequence[Span]) -> Iterator[Span]:
        """The spans, with special strings that nobody typed taken out as control tokens."""
        for span in spans:
            if not isinstance(span, TextSpan) or span.typed:
                yield span
                continue
            done = 0
            for match in self.special.finditer(span.text):
                yield TextSpan(span.text[done : match.start()], span.supervised)
                yield ControlSpan(match[0], span.supervised)
                done = match.end()
            yield TextSpan(span.text[done:], span.supervised)

    def encode(
        self,
        text: str,
        starts: Sequence[int],
        left: ControlSpan | ImageSpan | None,
        right: ControlSpan | ImageSpan | None,
    ) -> list[Token]:
        """Tokens of a run between its neighbours; None is the beginning or end of all text.

        `starts` are ascending places in it where answers begin. What stands before one is
        also a generation prompt, and must have the same ids there. Where the answer's first
        characters would change them (a tokenizer may join a newline of the template with one
        of the answer), the run is cut in two.
        """
        done: list[Token] = []
        base, before = 0, left
        edges = [*starts, len(text)]
        here = self._tokens(text[: edges[0]], before, None if starts else right)
        for edge, further in pairwise(edges):
            after = right if further == len(text) else None
            longer = self._tokens(text[base:further], before, after)
            if [token[0] for token in longer[: len(here)]] != [token[0] for token in here]:
                done += _moved(here, base)
                base, before = edge, ImageSpan(0)
                longer = self._tokens(text[base:further], before, after)
            here = longer
        return done + _moved(here, base)

    def _encode(
        self,
        text: str,
        left: ControlSpan | ImageSpan | None,
        right: ControlSpan | ImageSpan | None,
    ) -> list[Token]:
        before, after = self.name(left), self.name(right)
        encoding = self.backend.encode(before + text + after, add_special_tokens=False)
        first, last = int(bool(before)), len(encoding.ids) - int(bool(after))
        ids, offsets = encoding.ids[first:last], encoding.offsets[first:last]
        shift = len(before)
        tokens = [(id, b - shift, e - shift) for id, (b, e) in zip(ids, offsets, strict=True)]
        if self.special_ids.isdisjoint(ids):
            return tokens
        return [spelt for token in tokens for spelt in self._spelt(text, token)]

    def _spelt(self, text: str, token: Token) -> Iterator[Token]:
        """A control token that was typed, in characters: the vocabulary of some tokenizers
        (Unigram, WordLevel) also holds it as an ordinary piece."""
        id, begin, end = token
        if id not in self.special_ids:
            yield token
            return
        name = self.name(ImageSpan(0))
        for at in range(begin, end):
            for letter in self.backend.encode(name + text[at], add_special_tokens=False).ids[1:]:
                yield letter, at, at + 1

    def name(self, span: ControlSpan | ImageSpan | None) -> str:
        """The private name of a control token or an image, made known to `backend`.

        All of a conversation's are named before its first run is encoded.
        """
        if span is None:
            return ""
        token = span.token if isinstance(span, ControlSpan) else None
        if token not in self.names:
            from tokenizers import AddedToken

            name = f"{self.mark}{len(self.names)}\ue001"
            own = self.added.get(token) if token is not None else None
            strips = {"lstrip": own.lstrip, "rstrip": own.rstrip} if own else {}
            self.backend.add_tokens([AddedToken(name, normalized=False, special=False, **strips)])
            self.names[token] = name
        return self.names[token]


def _moved(tokens: list[Token], shift: int) -> list[Token]:
    if not shift:
        return tokens
    return [(id, begin + shift, end + shift) for id, begin, end in tokens]


Key = tuple[int, str, frozenset[str]]

_known: WeakKeyDictionary[Any, dict[Key, RunTokenizer]] = WeakKeyDictionary()


def run_tokenizer(tokenizer: Any, text: str = "", controls: Iterable[str] = ()) -> RunTokenizer:
    """The run tokenizer for `text` between these control tokens; made once, and anew when
    tokens were added to `tokenizer`."""
    mark = MARK
    while mark in text:
        mark += MARK
    known = _known.setdefault(tokenizer, {})

    def of(loose: frozenset[str]) -> RunTokenizer:
        key = len(tokenizer), mark, loose
        if key not in known:
            known[key] = RunTokenizer(tokenizer, mark, loose)
        return known[key]

    plain = of(frozenset())
    loose = frozenset(c for c in controls if c in plain.added and not plain.added[c].special)
    return of(loose) if loose else plain
