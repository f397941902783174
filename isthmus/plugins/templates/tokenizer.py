"""`tokenizer`: the chat template that comes with the tokenizer, whatever it is.

A chat template is a program (Jinja, run in transformers' sandbox) that prints a string. To
know which characters of it are an answer, the conversation is printed twice: as it is, and
with a private name in the place of every turn's words. The second printing shows what the
template itself writes around the turns; the first, what it makes of their words, which it may
strip of white space.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, JsonValue

from isthmus import hookimpl
from isthmus.core.contracts import ImageSpan, NoStart, Span, Template, TextSpan, Turn
from isthmus.core.data.runs import run_tokenizer
from isthmus.errors import DataError, PartError


class TokenizerTemplate(Template, name="tokenizer"):
    """The tokenizer's own chat template (`tokenizer.apply_chat_template`).

    Some templates print an answer differently once more turns follow (Qwen3 drops its
    thoughts). Such an answer is not learnt there: nobody would ever generate it so.
    """

    class Config(Template.Config):
        """Settings of `tokenizer`."""

        arguments: dict[str, JsonValue] = Field(default_factory=dict)
        """Variables for the chat template (`enable_thinking: false`)."""

    config: Config

    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        printed = self._print(turns, tokenizer)
        return list(self._spans(printed, turns, tokenizer, len(turns)))

    def prompt(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        answered = [*turns, Turn("assistant", ("answer",))]
        printed = self._print(answered, tokenizer)
        return list(self._spans(printed, answered, tokenizer, len(turns)))

    def stop(self, tokenizer: Any) -> str:
        ending = self._ending(tokenizer)
        special = run_tokenizer(tokenizer).special.search(ending)
        return special[0] if special else ending

    def _spans(
        self, printed: Printed, turns: Sequence[Turn], tokenizer: Any, end: int
    ) -> Iterator[Span]:
        """Spans up to the words of turn `end`, or to the end of all."""
        ending = self._ending(tokenizer)
        yield NoStart()
        learnt = False
        for index, between in enumerate(printed.between[: end + 1]):
            if learnt and between.startswith(ending):
                yield TextSpan(ending, supervised=True)
                between = between[len(ending) :]
            if index == len(turns):
                yield TextSpan(between)
                return
            learnt = turns[index].role == "assistant" and self._as_generated(
                printed, turns, index, tokenizer
            )
            head = between.removesuffix(" ") if turns[index].role == "assistant" else between
            yield TextSpan(head)
            if index < end:
                yield TextSpan(between[len(head) :], supervised=learnt)
                yield from printed.words(index, learnt)

    def _as_generated(
        self, printed: Printed, turns: Sequence[Turn], index: int, tokenizer: Any
    ) -> bool:
        """Whether what stands before an answer is also what one would generate it from."""
        if index == len(turns) - 1:
            return True
        asked = [*turns[:index], Turn("assistant", ("answer",))]
        alone = self._print(asked, tokenizer, printed.key)
        return printed.before(index) == alone.before(index)

    def _ending(self, tokenizer: Any) -> str:
        """What is printed behind an answer that ends a conversation, as far as its stop."""
        turns = [Turn("user", ("question",)), Turn("assistant", ("answer",))]
        ending = self._print(turns, tokenizer).between[-1]
        special = run_tokenizer(tokenizer).special.search(ending)
        if not ending:
            raise PartError(
                "the tokenizer's chat template prints nothing behind an answer, which would "
                "never stop; take another template (vicuna_v1, chatml, llama2)"
            )
        return ending[: special.end()] if special else ending

    def _print(self, turns: Sequence[Turn], tokenizer: Any, key: str = "") -> Printed:
        """The conversation as the chat template prints it, taken apart."""
        key = key or _key(turns)
        words = ["".join(_typed(piece, key) for piece in turn.content) for turn in turns]
        names = [f"{key}w{index}x" for index in range(len(turns))]
        text = self._render(turns, words, tokenizer)
        frame = self._render(turns, names, tokenizer)
        between = re.split("|".join(names), frame)
        if re.findall(f"{key}w\\d+x", frame) != names:
            raise DataError(
                "the tokenizer's chat template leaves out a turn or prints one twice, so that "
                "labels cannot be known; take another template (vicuna_v1, chatml, llama2)"
            )
        return Printed(between, _kept(text, between, words), key)

    def _render(self, turns: Sequence[Turn], words: Sequence[str], tokenizer: Any) -> str:
        if not tokenizer.chat_template:
            raise PartError(
                "template: the tokenizer has no chat template of its own; take vicuna_v1, "
                "llama2 or chatml, whichever its model was trained with"
            )
        messages = [
            {"role": turn.role, "content": text} for turn, text in zip(turns, words, strict=True)
        ]
        try:
            return tokenizer.apply_chat_template(messages, tokenize=False, **self.config.arguments)
        except Exception as error:  # a chat template is a program, and fails like one
            raise DataError(f"the tokenizer's chat template refuses this: {error}") from None


@dataclass(frozen=True)
class Printed:
    """A printed conversation: what stands `between` turns, before the first and behind the
    last, and each turn's words as they were printed, `key` naming the images in them."""

    between: list[str]
    kept: list[str]
    key: str

    def before(self, turn: int) -> str:
        """All that stands before the words of a turn."""
        pairs = zip(self.between[:turn], self.kept[:turn], strict=True)
        return "".join(between + words for between, words in pairs) + self.between[turn]

    def words(self, turn: int, learnt: bool) -> Iterator[Span]:
        """A turn's words, images where their slots stand."""
        for at, piece in enumerate(re.split(f"{self.key}i(\\d+)x", self.kept[turn])):
            yield ImageSpan(int(piece)) if at % 2 else TextSpan(piece, learnt, typed=True)


def _key(turns: Sequence[Turn]) -> str:
    """Letters and digits that no turn contains, the same for the same turns."""
    text = "\0".join(turn.text for turn in turns)
    key = "isthmus"
    while key in text:
        key = "isthmus" + hashlib.sha256((key + text).encode()).hexdigest()
    return key


def _typed(piece: Any, key: str) -> str:
    return piece if isinstance(piece, str) else f"{key}i{piece.index}x"


_STRIPPED: tuple[Callable[[str], str], ...] = (
    lambda words: words,
    str.strip,
    str.lstrip,
    str.rstrip,
    lambda words: words.strip("\n"),
    lambda words: words.lstrip("\n"),
    lambda words: words.rstrip("\n"),
)
"""What chat templates make of a turn's words."""


def _kept(text: str, between: Sequence[str], words: Sequence[str]) -> list[str]:
    """Each turn's words as they stand in the printed `text`."""
    kept, at = [], len(between[0])
    for said, after in zip(words, between[1:], strict=True):
        for strip in _STRIPPED:
            if text.startswith(strip(said) + after, at):
                break
        kept.append(strip(said))
        at += len(kept[-1]) + len(after)
    printed = between[0] + "".join(k + b for k, b in zip(kept, between[1:], strict=True))
    if printed != text:
        raise DataError(
            "the tokenizer's chat template changes the words of this conversation, so that "
            "labels cannot be known; take another template (vicuna_v1, chatml, llama2)"
        )
    return kept


@hookimpl
def register_templates(register: Callable[[type], None]) -> None:
    register(TokenizerTemplate)
