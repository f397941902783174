"""`plain`: images, then the caption. LLaVA's first stage and BLIP, which have no instructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from isthmus import hookimpl
from isthmus.core.contracts import ImageSpan, Span, Template, TextSpan, Turn
from isthmus.core.data.spans import content, control, end_token, start_behind_images


class Plain(Template, name="plain"):
    """Image, caption, newline; what the user or the system says is left out.

    `<image>a cat on a mat\\n`, as LLaVA's `plain` (arXiv:2304.08485).
    """

    class Config(Template.Config):
        """Settings of `plain`."""

        end: Literal["newline", "text"] = "newline"
        """What ends a caption: a `newline`, or the tokenizer's end of text (`</s>`), as in BLIP."""
        images_before_start: bool = False
        """Images that come first stand before the token that a text starts with: BLIP-2's order."""

    config: Config

    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        spans: list[Span] = []
        for turn in turns:
            if turn.role == "assistant":
                stop = self.stop(tokenizer)
                end: Span = TextSpan(stop, supervised=True)
                if self.config.end == "text":
                    end = control(stop, tokenizer, supervised=True)
                spans += [*content(turn, supervised=True), end]
            else:
                # Empty text: the next answer begins here, even where no image says so.
                spans.append(TextSpan(""))
                spans += [span for span in content(turn) if isinstance(span, ImageSpan)]
        if self.config.images_before_start:
            return start_behind_images(spans, tokenizer)
        return spans

    def prompt(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        return self.spans(turns, tokenizer)

    def stop(self, tokenizer: Any) -> str:
        return "\n" if self.config.end == "newline" else end_token(tokenizer)


@hookimpl
def register_templates(register: Callable[[type], None]) -> None:
    register(Plain)
