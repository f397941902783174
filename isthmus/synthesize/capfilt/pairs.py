"""Pictures with the texts that came with them, in blocks that are always cut the same.

How wide a batch is padded may move the last bits of a score, and so a sample: what is gone on with,
or split over processes, is therefore whole blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isthmus.core.contracts import ImageSlot, Picture, Sample, Source, Turn
from isthmus.core.data.mixture import Mixture
from isthmus.core.data.question_file import IMAGE
from isthmus.errors import DataError, Rejected
from isthmus.synthesize.capfilt.config import CapFiltConfig
from isthmus.synthesize.plan import Shard

BREAK = "\n"
"""What parts a picture from the words behind it, as in LLaVA's data."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One sample: `image` is the picture's path below the folder of images, `asked` the request
    that a caption answers. Where it is none that can be captioned, `reason` and `message` say why.
    """

    id: str
    origin: str
    picture: Path
    image: str
    asked: Turn
    text: str
    seed: int
    reason: str = ""
    message: str = ""


class Pairs:
    """All samples. Opening checks every record, and reads no pixel. Raises DataError."""

    def __init__(self, config: CapFiltConfig) -> None:
        self.config = config
        if not config.images.is_dir():
            raise DataError(f"images: there is no folder {config.images}")
        self.root = config.images.resolve()
        self.samples = Mixture(list(_opened(config)))
        self._pair(self.samples[0])

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return -(-len(self) // self.config.batch_size)

    def numbers(self, shard: Shard) -> range:
        """Numbers of a shard's blocks."""
        return range(shard.number - 1, self.blocks, shard.of)

    def size(self, block: int) -> int:
        """Samples of a block."""
        return min(self.config.batch_size, len(self) - block * self.config.batch_size)

    def block(self, number: int) -> list[Pair]:
        """The samples of a block."""
        first = number * self.config.batch_size
        return [self._pair(self.samples[first + i]) for i in range(self.size(number))]

    def _pair(self, sample: Sample) -> Pair:
        turns = [turn for turn in sample.turns if turn.role != "system"]
        asked = self._asked(turns[0])
        text = turns[-1].text.strip()
        try:
            _check(sample, turns, asked)
            picture, reason, message = self._file(sample), "", ""
            image = picture.relative_to(self.root).as_posix()
        except Rejected as rejected:
            picture, image = Path(), ""
            reason, message = rejected.reason, str(rejected)
        seed = _seed(self.config.seed, sample.id, image, text)
        return Pair(sample.id, sample.origin, picture, image, asked, text, seed, reason, message)

    def _asked(self, turn: Turn) -> Turn:
        question = self.config.captioner.question
        return turn if question is None else Turn("user", (ImageSlot(0), BREAK + question))

    def _file(self, sample: Sample) -> Path:
        picture: Picture = sample.images[0]
        if not isinstance(picture, Path):
            raise Rejected("image", "its picture is no file, and a dataset names files")
        if not picture.is_relative_to(self.root):
            raise DataError(
                f"{sample.origin}: {picture} is not in `images`, {self.root}; write the folder "
                "that all pictures lie in"
            )
        return picture


def _opened(config: CapFiltConfig) -> Iterator[Source]:
    for index, part in enumerate(config.data):
        try:
            source: Source = part.build()
            if source.streams:
                raise DataError("a stream cannot be split into parts; leave out `stream`")
            if not len(source):
                raise DataError("there is no sample in it")
        except DataError as error:
            raise DataError(f"data[{index}]: {error}") from error
        yield source


def _check(sample: Sample, turns: list[Turn], asked: Turn) -> None:
    """Raise Rejected for a sample that is no picture with its caption."""
    if len(sample.images) != 1:
        raise Rejected("images", f"{len(sample.images)} images; a caption is of one")
    if len(turns) != 2:
        raise Rejected("turns", f"{len(turns) // 2} answers; a caption is one")
    if IMAGE in asked.text:
        raise Rejected("placeholder", f"its request has {IMAGE} typed in it")


def _seed(*said: int | str) -> int:
    """32 bits that follow from these alone."""
    text = "\x1f".join(map(str, said))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
