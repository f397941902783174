"""`video_qa`: questions about videos; right is what equals a right answer, or contains one.

{"question_id": 7, "video": "clips/7", "fps": 2, "text": "<video>\\nWhere does it go?",
 "answer": "left"}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from isthmus import hookimpl
from isthmus.core.contracts import Benchmark, DataPath, Outcome, Question
from isthmus.core.data.answer_reading import occurs, plain
from isthmus.core.data.frames import FrameConfig, frames_of
from isthmus.core.data.question_file import IMAGE, read_question_file
from isthmus.errors import DataError

VIDEO = "<video>"
"""Where the text of a row says the frames to stand; else they stand before it."""


class VideoQa(Benchmark, name="video_qa"):
    """Share of right answers; capitals, outer marks and spaces aside.

    Frames are those that the source `video` takes, and stand in the question as there. With
    `frames: 1` it is the control that sees no motion.
    """

    class Config(FrameConfig, Benchmark.Config):
        """Settings of `video_qa`."""

        data: DataPath
        """JSONL or JSON of rows {question_id, video, fps, text, answer, category}; `video` is a
        folder of frames or a list of files, `answer` may be a list of right ones."""
        images: DataPath | None = None
        """Folder that videos are in; absent, that of `data`."""
        rule: Literal["equals", "contains"] = "equals"
        """What makes an answer right: it equals a right one; a right one occurs in it, word for
        word."""

    config: Config

    @property
    def image_folder(self) -> Path:
        return self.config.images or self.config.data.parent

    def questions(self) -> Sequence[Question]:
        return read_question_file(self.config.data, self._with_frames)

    def outcome(self, question: Question, reply: str) -> Outcome:
        said, right = plain(reply), [plain(each) for each in question.references]
        if self.config.rule == "contains":
            return Outcome.of(said or None, right=any(occurs(words, said) for words in right))
        return Outcome.of(said or None, right=said in right)

    def _with_frames(self, row: Mapping[str, Any], origin: str) -> Mapping[str, Any]:
        """The row with an image, behind its time, for each frame where the video stands."""
        text = row.get("text")
        if not isinstance(text, str) or text.count(VIDEO) > 1:
            raise DataError(
                f"{origin}: `text` is what is asked, with {VIDEO} once, or not at all; found "
                f"{text!r:.60}"
            )
        names, stamps = frames_of(row, self.image_folder.resolve(), self.config, origin)
        frames = "\n".join(stamp + IMAGE for stamp in stamps)
        asked = text if VIDEO in text else f"{VIDEO}\n{text}"
        return {**row, "image": names, "text": asked.replace(VIDEO, frames)}


@hookimpl
def register_benchmarks(register: Callable[[type], None]) -> None:
    register(VideoQa)
