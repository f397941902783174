"""Chat completions as OpenAI's API has them: a request's body, and the reply in what came."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from isthmus.core.chat import whole
from isthmus.core.contracts import ChatReply, ChatRequest, Finish, ImageSlot, Picture, Turn
from isthmus.core.data.images import open_picture, read_picture
from isthmus.errors import ChatBroken, ImageError
from isthmus.plugins.chat_models.openai.endpoint_config import EndpointConfig

FINISHES: dict[Any, Finish] = {"stop": "stop", "length": "length", "content_filter": "refusal"}
KINDS = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}
"""First bytes of a picture that endpoints take -> its media type."""
SHOWN = 200


def body_of(request: ChatRequest, config: EndpointConfig) -> dict[str, Any]:
    """The body of the call. Raises ImageError for a picture that cannot be sent."""
    said = request.parameters
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [_message(turn, request) for turn in request.turns],
    }
    settings = {
        "temperature": said.temperature,
        "top_p": said.top_p,
        config.longest: said.max_tokens,
        "seed": said.seed,
    }
    body |= {name: value for name, value in settings.items() if value is not None}
    if said.json_schema is not None and config.keeps_schema:
        schema = {"name": "reply", "strict": True, "schema": said.json_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body | config.extra


def read_body(raw: str) -> ChatReply:
    """The reply in a response's body, in the list of chunks that a stream came in, or in a line of
    a batch's output. Raises ChatBroken."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise ChatBroken(f"not JSON: {raw[:SHOWN]!r}") from None
    if isinstance(body, list):
        body = _joined(body)
    elif isinstance(body, dict) and "custom_id" in body:
        body = _mapping(body.get("response")).get("body")
    if not isinstance(body, dict):
        raise ChatBroken(f"no chat completion: {raw[:SHOWN]!r}")
    spent = _spent(body.get("usage"))
    choices = body.get("choices")
    if not isinstance(choices, list):
        raise ChatBroken(f"no chat completion: {raw[:SHOWN]!r}", spent=spent)
    if not choices:
        raise ChatBroken("no choices", spent=spent)
    choice = _mapping(choices[0])
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ChatBroken("a choice without a message", spent=spent)
    finish, text = choice.get("finish_reason"), message.get("content")
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        finish, text = "content_filter", text or refusal
    elif text is None and finish in ("length", "content_filter"):
        text = ""  # all of it was thought, or withheld
    if not isinstance(text, str):
        raise ChatBroken("a message without content", spent=spent)
    prompt, completion = spent or (None, None)
    model = body.get("model")
    return ChatReply(
        text=whole(text),
        finish=FINISHES.get(str(finish), "other"),
        model=model if isinstance(model, str) else "",
        prompt_tokens=prompt,
        completion_tokens=completion,
    )


def _message(turn: Turn, request: ChatRequest) -> dict[str, Any]:
    if not turn.slots:
        return {"role": turn.role, "content": whole(turn.text)}
    return {"role": turn.role, "content": [_piece(piece, request) for piece in turn.content]}


def _piece(piece: str | ImageSlot, request: ChatRequest) -> dict[str, Any]:
    if isinstance(piece, str):
        return {"type": "text", "text": whole(piece)}
    url = _data_url(request.images[piece.index], f"request {request.id}")
    return {"type": "image_url", "image_url": {"url": url}}


def _data_url(picture: Picture, origin: str) -> str:
    """The file's own bytes where endpoints take its format, and else the picture as PNG."""
    content = read_picture(picture, origin) if isinstance(picture, Path) else picture
    kind = None
    if isinstance(content, bytes):
        kind = next((kind for head, kind in KINDS.items() if content.startswith(head)), None)
    if kind is None or not isinstance(content, bytes):
        content, kind = _png(content, origin), "image/png"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _png(picture: Any, origin: str) -> bytes:
    file = BytesIO()
    try:
        open_picture(picture, origin).save(file, "PNG")
    except OSError:
        raise ImageError(f"{origin}: the picture cannot be written as PNG") from None
    return file.getvalue()


def _spent(usage: Any) -> tuple[int, int] | None:
    if not isinstance(usage, Mapping):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not (type(prompt) is type(completion) is int and min(prompt, completion) >= 0):
        return None
    return prompt, completion


def _joined(chunks: Sequence[Any]) -> dict[str, Any]:
    """The body that a stream's chunks make up. One that was cut off has no reason to end."""
    body: dict[str, Any] = {"choices": []}
    said: dict[str, str] = {"content": "", "refusal": ""}
    finish = None
    for chunk in map(_mapping, chunks):
        body |= {name: chunk[name] for name in ("model", "usage") if chunk.get(name)}
        choices = chunk.get("choices")
        for choice in map(_mapping, choices if isinstance(choices, list) else ()):
            delta = _mapping(choice.get("delta"))
            for name in said:
                piece = delta.get(name)
                said[name] += piece if isinstance(piece, str) else ""
            finish = choice.get("finish_reason") or finish
            body["choices"] = [{}]
    if body["choices"]:
        if finish is None:
            raise ChatBroken("the stream ended before the reply", spent=_spent(body.get("usage")))
        body["choices"] = [{"message": said, "finish_reason": finish}]
    return body


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
