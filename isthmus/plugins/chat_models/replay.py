"""`replay`: recorded answers, from a file. Tests, demonstrations, and a teacher that is no longer.

{"id": "coco-9/detail", "text": "A red bus stands ...", "model": "gpt-4-0314"}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, get_args

from isthmus import hookimpl
from isthmus.core.contracts import ChatModel, ChatReply, ChatRequest, DataPath, Finish
from isthmus.errors import ChatRefused, DataError

FIELDS = {"text", "finish", "model", "prompt_tokens", "completion_tokens"}


class Replay(ChatModel, name="replay"):
    """Answers each request with the row that has its id, whatever it asks.

    A row is `{id, text}`, and may say `finish` (stop, length, refusal, other), `model`,
    `prompt_tokens` and `completion_tokens`.
    """

    class Config(ChatModel.Config):
        """Configuration of `replay`."""

        file: DataPath
        """JSON lines, a recorded answer each."""
        sees: bool = True
        """Whether requests may hold images."""

    config: Config
    incidental = frozenset({"price", "sees", "file"})

    @property
    def sees(self) -> bool:
        return self.config.sees

    @property
    def structured(self) -> bool:
        return True

    @property
    def answers(self) -> dict[str, ChatReply]:
        """Request id -> its answer. Raises DataError naming the line that is wrong."""
        if not hasattr(self, "_answers"):
            self._read_file()
        return self._answers

    def identity(self) -> dict[str, Any]:
        """With a hash of the file: other answers are another model."""
        _ = self.answers
        return {**super().identity(), "answers": self._fingerprint}

    async def reply(self, request: ChatRequest) -> str:
        answer = self.answers.get(request.id)
        if answer is None:
            raise ChatRefused(f"{self.config.file} has no answer with id {request.id!r}")
        return answer.raw()

    def _read_file(self) -> None:
        file = self.config.file
        try:
            content = file.read_bytes()
            text = content.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise DataError(f"{file}: cannot be read: {why}") from None
        answers: dict[str, ChatReply] = {}
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                id, answer = _answer(line, f"{file}, line {number}")
                if id in answers:
                    raise DataError(f"{file}, line {number}: id {id!r} is answered twice")
                answers[id] = answer
        self._answers, self._fingerprint = answers, hashlib.sha256(content).hexdigest()


def _answer(line: str, where: str) -> tuple[str, ChatReply]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error})") from None
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise DataError(f'{where}: a row is {{"id": ..., "text": ...}}; found {line:.60}')
    if strange := sorted(row.keys() - FIELDS - {"id"}):
        raise DataError(f"{where}: unknown key {strange[0]!r}. Keys: id, {', '.join(FIELDS)}")
    if not isinstance(row.get("text"), str):
        raise DataError(f"{where}: `text` is the answer's words; found {row.get('text')!r:.60}")
    if row.get("finish", "stop") not in get_args(Finish):
        raise DataError(f"{where}: `finish` is one of {', '.join(get_args(Finish))}")
    return row["id"], ChatReply(**{key: row[key] for key in FIELDS & row.keys()})


@hookimpl
def register_chat_models(register: Callable[[type], None]) -> None:
    register(Replay)
