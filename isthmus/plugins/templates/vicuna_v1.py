"""`vicuna_v1`: the conversation of Vicuna 1.1 and later, and of LLaVA-1.5."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from isthmus import hookimpl
from isthmus.core.contracts import Span, Template, TextSpan, Turn
from isthmus.core.data.spans import content, control, end_token, split_system


class VicunaV1(Template, name="vicuna_v1"):
    """The conversation of Vicuna 1.1 and of LLaVA-1.5.

    `SYSTEM USER: question ASSISTANT: answer</s>USER: question ASSISTANT: answer</s>`, as in
    lm-sys/FastChat and haotian-liu/LLaVA; `</s>` is the tokenizer's end of text.
    """

    class Config(Template.Config):
        """Settings of `vicuna_v1`."""

        system: str = (
            "A chat between a curious user and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the user's questions."
        )
        """What stands first, where a conversation has no system turn of its own."""

    config: Config

    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        spans, rest = split_system(turns, self.config.system)
        if spans:
            spans.append(TextSpan(" "))
        for turn in rest:
            if turn.role == "assistant":
                end = control(end_token(tokenizer), tokenizer, supervised=True)
                answer = [TextSpan(" ", supervised=True), *content(turn, supervised=True)]
                spans += [TextSpan("ASSISTANT:"), *answer, end]
            else:
                spans += [TextSpan("USER: "), *content(turn), TextSpan(" ")]
        return spans

    def prompt(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        return [*self.spans(turns, tokenizer), TextSpan("ASSISTANT:")]

    def stop(self, tokenizer: Any) -> str:
        return end_token(tokenizer)


@hookimpl
def register_templates(register: Callable[[type], None]) -> None:
    register(VicunaV1)
