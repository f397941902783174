"""`video`: conversations about videos, each a folder of frames or a list of them.

{"id": "7", "video": "clips/7", "fps": 2, "conversations": [
    {"from": "human", "value": "<video>\\nWhere does it go?"}, {"from": "gpt", "value": "Left."}]}
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from isthmus import hookimpl
from isthmus.core.contracts import ImageSlot, Role, Turn
from isthmus.core.data.conversations import ConversationFile, checked_text
from isthmus.core.data.frames import FrameConfig, frames_of
from isthmus.core.data.records import Record, checked_list
from isthmus.errors import DataError

ROLES: dict[str, Role] = {"human": "user", "gpt": "assistant", "system": "system"}
PLACEHOLDER = "<video>"
"""What stands for the video in the text of a record."""


class Video(ConversationFile, name="video"):
    """Records with `conversations` as LLaVA has them, and `video`: a folder of frames, or a list.

    Some frames are taken uniformly, and stand in the place of `<video>` as images, each behind
    the second that it was taken at.
    """

    class Config(FrameConfig, ConversationFile.Config):
        """Settings of `video`."""

    config: Config

    def __init__(self, config: Config) -> None:
        # What folders hold is part of the data; a folder of pictures is no record.
        self._listing: Any = hashlib.sha256()
        super().__init__(config)
        self._listed: str = self._listing.hexdigest()
        self._listing = None

    def read(self, record: Record, origin: str) -> tuple[list[Turn], list[str]]:
        if record.get("image") is not None:
            raise DataError(
                f"{origin}: it names an image; the source `video` reads records with a `video`, "
                "or none. Images go into a file of their own, with the source `llava`"
            )
        names, stamps = self._frames(record, origin)
        said = checked_list(record.get("conversations"), origin, "conversations")
        turns = [_turn(part, origin) for part in said]
        places = sum(turn.text.count(PLACEHOLDER) for turn in turns if turn.role == "user")
        if places != bool(names):
            raise DataError(
                f"{origin}: {'a video' if names else 'no video'}, but {places} {PLACEHOLDER} in "
                "what the user says; write one where the video stands"
            )
        return [_with_frames(turn, stamps) for turn in turns], names

    @property
    def fingerprint(self) -> str:
        config = self.config
        settings = f"frames={config.frames}|fps={config.fps}|timestamps={config.timestamps}"
        return f"{super().fingerprint}|{self._listed}|{settings}"

    def _frames(self, record: Record, origin: str) -> tuple[list[str], list[str]]:
        """Paths of the frames that are looked at, and what stands before each."""
        if record.get("video") is None:
            return [], []
        if self.root is None:
            raise DataError(f"{origin}: it names a video; give `images`, the folder of them")
        names, stamps = frames_of(record, self.root, self.config, origin)
        if self._listing is not None:
            self._listing.update(repr(names).encode())
        return names, stamps


def _turn(part: Any, origin: str) -> Turn:
    if not isinstance(part, dict) or part.get("from") not in ROLES:
        raise DataError(
            f'{origin}: a turn is {{"from": {" | ".join(ROLES)}, "value": text}}; found '
            f"{part!r:.60}"
        )
    return Turn(ROLES[part["from"]], (checked_text(part.get("value"), origin, "value"),))


def _with_frames(turn: Turn, stamps: list[str]) -> Turn:
    """The turn with an image slot, behind its time, for each frame where the video stands."""
    if turn.role != "user" or PLACEHOLDER not in turn.text:
        return turn
    before, _, behind = turn.text.partition(PLACEHOLDER)
    return Turn(turn.role, tuple(_pieces(before, stamps, behind)))


def _pieces(before: str, stamps: list[str], behind: str) -> Iterator[str | ImageSlot]:
    text = before
    for number, stamp in enumerate(stamps):
        if text + stamp:
            yield text + stamp
        yield ImageSlot(number)
        text = "\n"
    if behind:
        yield behind


@hookimpl
def register_sources(register: Callable[[type], None]) -> None:
    register(Video)
