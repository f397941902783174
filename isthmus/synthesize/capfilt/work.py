"""What both models say of a block of pictures: a caption each, and what the texts are worth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from isthmus.core.assistant import Assistant, Conversation, assistant_of, name_of
from isthmus.core.assistant.opening import template_of
from isthmus.core.chat.keys import canonical
from isthmus.core.checkpoint import Checkpoint, load, named_at
from isthmus.core.checkpoint.manifest import NAME, entry_of
from isthmus.core.data.images import open_picture
from isthmus.errors import ImageError
from isthmus.synthesize.capfilt.config import CapFiltConfig, CaptionerConfig
from isthmus.synthesize.capfilt.filter import Filter, TrainedFilter
from isthmus.synthesize.capfilt.pairs import Pair

FORMAT = 1
"""Changes with what is hashed, or how."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of one pair: the caption, whether it came to an end, and what the filter says
    of it (`synthetic`) and of the text that was there (`web`); None of a text that has no words.
    Or why it could not be looked at."""

    caption: str = ""
    whole: bool = True
    web: float | None = None
    synthetic: float | None = None
    reason: str = ""
    message: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


class Models:
    """Captioner and filter: their checkpoints are opened, and weights are read by `load`. Raises
    InputError for what is no checkpoint, cannot write, or cannot filter."""

    def __init__(self, config: CapFiltConfig) -> None:
        self.config = config
        self.notes: list[str] = []
        with named_at("captioner.model"):
            self.captioner = self._opened("captioner.model", config.captioner.model)
            template_of(self.captioner)
        with named_at("filter.model"):
            opened = self._opened("filter.model", config.filter.model)
            self.filter = TrainedFilter(opened)
        self.identity = {
            "captioner": _identity(self.captioner) | {"sampling": _sampling(config.captioner)},
            "filter": _identity(opened),
        }
        """Who wrote and who filtered: names, hashes of the checkpoints, how captions are drawn."""

    def key(self, pairs: Sequence[Pair]) -> str:
        """Hash of all that determines what is found of a block. Of a picture that is its path and
        its size in bytes: pictures themselves are read only when they are looked at."""
        who = [{k: v for k, v in each.items() if k != "model"} for each in self.identity.values()]
        said = [FORMAT, who, [_said(pair) for pair in pairs]]
        return hashlib.sha256(canonical(said).encode()).hexdigest()

    def load(self, device: str | None) -> Worker:
        """Read the weights of both."""
        captioner = assistant_of(self.captioner, device)
        return Worker(captioner, self.filter.load(device), self.config)

    def _opened(self, where: str, folder: Any) -> Checkpoint:
        opened = load(folder)
        self.notes += [f"{where}: skipped a checkpoint: {line}" for line in opened.skipped]
        return opened


class Worker:
    """Runs both models on blocks."""

    def __init__(self, captioner: Assistant, filter: Filter, config: CapFiltConfig) -> None:
        self.captioner, self.filter, self.config = captioner, filter, config.captioner

    def __call__(self, pairs: Sequence[Pair]) -> list[Found]:
        """What is found of each pair. A picture that cannot be read is said to be so."""
        found: dict[int, Found] = {}
        pictures: dict[int, Image.Image] = {}
        for number, pair in enumerate(pairs):
            try:
                if not pair.reason:
                    pictures[number] = open_picture(pair.picture, pair.origin)
            except ImageError as error:
                # Without the record and the folder, which other machines have elsewhere.
                why = str(error).removeprefix(f"{pair.origin}: ")
                why = why.replace(str(pair.picture), pair.image)
                found[number] = Found(reason="image", message=why)
            else:
                found[number] = Found(reason=pair.reason, message=pair.message)
        if pictures:
            found |= self._looked(pairs, pictures)
        return [found[number] for number in range(len(pairs))]

    def _looked(self, pairs: Sequence[Pair], pictures: dict[int, Image.Image]) -> dict[int, Found]:
        answers = self.captioner.full_answers(
            [Conversation((pairs[n].asked,), (picture,)) for n, picture in pictures.items()],
            len(pictures),
            numbers=[pairs[n].seed for n in pictures],
            max_new_tokens=self.config.max_new_tokens,
            temperature=self.config.temperature,
            top_p=self.config.top_p,
        )
        captions = {n: answer.text for n, answer in zip(pictures, answers, strict=True)}
        asked = {("web", n): pairs[n].text for n in pictures if pairs[n].text}
        asked |= {("synthetic", n): text for n, text in captions.items() if text}
        scores = self.filter.scores([(pictures[n], text) for (_, n), text in asked.items()])
        worth = dict(zip(asked, scores, strict=True))
        return {
            n: Found(
                caption=captions[n],
                whole=answer.ending == "stop",
                web=worth.get(("web", n)),
                synthetic=worth.get(("synthetic", n)),
            )
            for n, answer in zip(pictures, answers, strict=True)
        }


def _sampling(config: CaptionerConfig) -> dict[str, float]:
    """What captions follow from, beside seeds: at temperature 0 nothing is drawn."""
    drawn = {"top_p": config.top_p} if config.temperature else {}
    return {
        "max_new_tokens": config.max_new_tokens,
        "temperature": config.temperature,
        **drawn,
    }


def _identity(opened: Checkpoint) -> dict[str, Any]:
    """A checkpoint's name, and the hash of its manifest, which has those of all of its files."""
    return {
        "model": name_of(opened.folder),
        "sha256": entry_of(opened.folder / NAME).sha256,
    }


def _said(pair: Pair) -> list[Any]:
    try:
        size = pair.picture.stat().st_size if pair.image else None
    except OSError:
        size = None
    asked = [piece if isinstance(piece, str) else None for piece in pair.asked.content]
    return [pair.id, pair.image, size, asked, pair.text, pair.seed, pair.reason]
