"""Asking one model of a jury, a teacher or an arbiter, and what it said that can be used.

A reply that failed, was refused or was cut off before it said anything is None, never a guess. A
model that calls itself something else in the middle of a run is another instrument: WorkError.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from isthmus.core.chat import AskConfig, Journal, Progress, ask, whole
from isthmus.core.contracts import ChatModel, ChatParameters, ChatReply, ChatRequest, Turn
from isthmus.core.data.rows import unique_object
from isthmus.errors import WorkError

NO_REPLY = "no reply"
REFUSED = "refused"
CUT_OFF = "cut off"


class Observer(Protocol):
    """Hears who is asked, and how far that has come."""

    def __call__(self, who: str, progress: Progress) -> None: ...


@dataclass(frozen=True)
class Said:
    """What came to one request: `text`, which may be `cut` short, or why there is none."""

    text: str | None
    missing: str = ""
    cut: bool = False


@dataclass
class Listener:
    """Asks models with one journal. `returned` is what each called itself, `reasons` how often
    there was no reply, and why."""

    journal: Journal
    config: AskConfig
    observer: Observer | None = None
    returned: dict[str, str] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)

    def hear(self, who: str, model: ChatModel, requests: Sequence[ChatRequest]) -> list[Said]:
        """What `model`, here called `who`, said to each, in their order. Raises what `ask` does,
        and WorkError where another model answers than before."""
        said: dict[str, Said] = {}
        observer = self.observer

        def watch(progress: Progress) -> None:
            if observer is not None:
                observer(who, progress)

        for settled in ask(model, requests, self.journal, self.config, watch=watch):
            if settled.reply is None:
                self.reasons[settled.reason] += 1
                said[settled.request.id] = Said(None, NO_REPLY)
            else:
                self._check(who, settled.reply)
                said[settled.request.id] = _said(settled.reply)
        return [said[request.id] for request in requests]

    def _check(self, who: str, reply: ChatReply) -> None:
        """Servers that name no model are taken at their address."""
        name = whole(reply.model)
        known = self.returned.setdefault(who, name) or name
        if name and name != known:
            raise WorkError(
                f"{who} called itself {known!r:.80} and then {name!r:.80}: two models are two "
                "judges, so there is no score. Ask a model by a name that stays the same, and "
                f"begin with another journal than {Path(self.journal.path)}"
            )
        self.returned[who] = known


def requested(model: ChatModel) -> str:
    """The name under which it is asked for."""
    return str(model.identity().get("model") or model.name)


def request(
    id: str,
    model: ChatModel,
    words: str,
    parameters: ChatParameters,
    schema: Mapping[str, Any] | None,
) -> ChatRequest:
    """One question in words; the schema of the reply goes with it where the model keeps to one."""
    if schema is not None and model.structured:
        parameters = parameters.model_copy(update={"json_schema": dict(schema)})
        named = schema["properties"].items()
        fields = ", ".join(f'"{name}" ({about.get("description", name)})' for name, about in named)
        words = f"{words}\n\nReply with one JSON object that says the same: {fields}."
    return ChatRequest(id, (Turn("user", (words,)),), parameters=parameters)


def in_words(text: str, schema: Mapping[str, Any] | None) -> str:
    """A reply that is such an object, as others say it: its numbers on the first line, its texts
    on those that follow. What is no such object is left as it is."""
    if schema is None:
        return text
    try:
        found = json.loads(text, object_pairs_hook=unique_object)
    except (ValueError, RecursionError):
        return text
    properties = schema["properties"]
    if not isinstance(found, dict) or not found.keys() <= properties.keys():
        return text
    numbers = [found.get(n) for n, about in properties.items() if about["type"] != "string"]
    texts = [found.get(n, "") for n, about in properties.items() if about["type"] == "string"]
    if not all(_is_number(n) for n in numbers) or not all(isinstance(t, str) for t in texts):
        return text
    return "\n".join(filter(None, [" ".join(map(str, numbers)), *texts]))


def _said(reply: ChatReply) -> Said:
    """Of a reply that was cut off, the last line may be half of what was meant: 1 for 10."""
    text = whole(reply.text)
    if reply.finish == "refusal":
        return Said(None, REFUSED)
    if reply.finish == "length":
        text = text.rpartition("\n")[0]
        return Said(text, cut=True) if text.strip() else Said(None, CUT_OFF, cut=True)
    return Said(text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and abs(value) < math.inf
