"""`openai` and `openai_batch`: any endpoint that speaks OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import Callable

from isthmus import hookimpl
from isthmus.plugins.chat_models.openai.batch import OpenAIBatch
from isthmus.plugins.chat_models.openai.live import OpenAI


@hookimpl
def register_chat_models(register: Callable[[type], None]) -> None:
    register(OpenAI)
    register(OpenAIBatch)
