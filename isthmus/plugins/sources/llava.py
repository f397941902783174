"""`llava`: conversations as LLaVA publishes them, JSON or JSONL.

{"id": "7", "image": "coco/7.jpg", "conversations": [
    {"from": "human", "value": "<image>\\nWhat is this?"}, {"from": "gpt", "value": "A cat."}]}
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from isthmus import hookimpl
from isthmus.core.contracts import ImageSlot, Role, Turn
from isthmus.core.data.conversations import (
    Content,
    ConversationFile,
    checked_text,
    place_images,
)
from isthmus.core.data.records import Record, checked_list, image_names
from isthmus.errors import DataError

ROLES: dict[str, Role] = {"human": "user", "gpt": "assistant", "system": "system"}


class Llava(ConversationFile, name="llava"):
    """LLaVA's records: `id`, `image` (a path, a list of them, or none), `conversations`.

    `<image>` in a human turn is the place of an image; their number must be the images'.
    """

    class Config(ConversationFile.Config):
        """Settings of `llava`."""

        image_first: bool = False
        """Put the image of a turn that has one before its words, on a line of its own,
        wherever the record has it. LLaVA's own training does so."""

    config: Config

    def read(self, record: Record, origin: str) -> tuple[list[Turn], list[str]]:
        numbers = count()
        said = checked_list(record.get("conversations"), origin, "conversations")
        turns = [self._turn(part, origin, lambda: ImageSlot(next(numbers))) for part in said]
        return turns, image_names(record.get("image"), origin)

    @property
    def fingerprint(self) -> str:
        return f"{super().fingerprint}|first={self.config.image_first}"

    def _turn(self, part: object, origin: str, slot: Callable[[], ImageSlot]) -> Turn:
        if not isinstance(part, dict) or part.get("from") not in ROLES:
            raise DataError(
                f'{origin}: a turn is {{"from": {" | ".join(ROLES)}, "value": text}}; '
                f"found {part!r:.60}"
            )
        role = ROLES[part["from"]]
        text = checked_text(part.get("value"), origin, "value")
        content: Content = place_images(text, slot) if role == "user" else (text,)
        return Turn(role, _image_first(content) if self.config.image_first else content)


def _image_first(content: Content) -> Content:
    images = [piece for piece in content if isinstance(piece, ImageSlot)]
    if len(images) != 1:
        return content
    words = "".join(piece for piece in content if isinstance(piece, str)).strip()
    return (images[0], f"\n{words}") if words else (images[0],)


@hookimpl
def register_sources(register: Callable[[type], None]) -> None:
    register(Llava)
