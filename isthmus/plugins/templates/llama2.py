"""`llama2`: the conversation of Llama-2-chat, with the system words of LLaVA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from isthmus import hookimpl
from isthmus.core.contracts import Span, Template, TextSpan, Turn
from isthmus.core.data.spans import content, control, end_token, split_system, start_tokens


class Llama2(Template, name="llama2"):
    """The conversation of Llama-2-chat, with the system words of LLaVA.

    `[INST] <<SYS>>\\nSYSTEM\\n<</SYS>>\\n\\nquestion [/INST] answer </s><s>[INST] ...`, as in
    facebookresearch/llama and haotian-liu/LLaVA (`llava_llama_2`). Every round after the first
    begins with whatever the tokenizer begins a text with.
    """

    class Config(Template.Config):
        """Settings of `llama2`."""

        system: str = (
            "You are a helpful language and vision assistant. "
            "You are able to understand the visual content that the user provides, "
            "and assist the user with a variety of tasks using natural language."
        )
        """What stands first, where a conversation has no system turn of its own."""

    config: Config

    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        system, rest = split_system(turns, self.config.system)
        if system:
            system = [TextSpan("<<SYS>>\n"), *system, TextSpan("\n<</SYS>>\n\n")]
        spans: list[Span] = []
        for turn in rest:
            if turn.role == "assistant":
                end = control(end_token(tokenizer), tokenizer, supervised=True)
                space = TextSpan(" ", supervised=True)
                spans += [space, *content(turn, supervised=True), space, end]
            else:
                start = start_tokens(tokenizer) if spans else []
                spans += [*start, TextSpan("[INST] "), *system, *content(turn)]
                spans += [TextSpan(" [/INST]")]
                system = []
        return spans

    def prompt(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        return self.spans(turns, tokenizer)

    def stop(self, tokenizer: Any) -> str:
        return end_token(tokenizer)


@hookimpl
def register_templates(register: Callable[[type], None]) -> None:
    register(Llama2)
