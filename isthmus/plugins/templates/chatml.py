"""`chatml`: turns between `<|im_start|>` and `<|im_end|>`, as Qwen, Yi and many others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from isthmus import hookimpl
from isthmus.core.contracts import Span, Template, TextSpan, Turn
from isthmus.core.data.spans import content, control, split_system

START, END = "<|im_start|>", "<|im_end|>"


class ChatML(Template, name="chatml"):
    """Turns between control tokens: the format of Qwen, Yi and many others.

    `<|im_start|>user\\nquestion<|im_end|>\\n<|im_start|>assistant\\nanswer<|im_end|>\\n`,
    the Chat Markup Language of OpenAI. A tokenizer without the two control tokens writes them
    in characters, which works but is longer, and which a user could type.
    """

    class Config(Template.Config):
        """Settings of `chatml`."""

        system: str = ""
        """Words of a first system turn, where a conversation has none; empty, no such turn."""

    config: Config

    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        system, rest = split_system(turns, self.config.system)
        spans: list[Span] = []
        if system:
            spans += [*self._head("system", tokenizer), *system, *self._tail(tokenizer)]
        for turn in rest:
            learnt = turn.role == "assistant"
            spans += [*self._head(turn.role, tokenizer), *content(turn, supervised=learnt)]
            spans += self._tail(tokenizer, supervised=learnt)
        return spans

    def prompt(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        return [*self.spans(turns, tokenizer), *self._head("assistant", tokenizer)]

    def stop(self, tokenizer: Any) -> str:
        return END

    def _head(self, role: str, tokenizer: Any) -> list[Span]:
        return [control(START, tokenizer), TextSpan(f"{role}\n")]

    def _tail(self, tokenizer: Any, supervised: bool = False) -> list[Span]:
        return [control(END, tokenizer, supervised=supervised), TextSpan("\n")]


@hookimpl
def register_templates(register: Callable[[type], None]) -> None:
    register(ChatML)
