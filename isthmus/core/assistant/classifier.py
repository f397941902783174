"""The classifier: a trained model that compares pictures with texts, and chooses by that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from isthmus.core import config as configs
from isthmus.core.assistant.questions import Question
from isthmus.core.contracts import ConnectorText, Images, Picture
from isthmus.core.data.matches import read
from isthmus.core.data.view import look
from isthmus.core.model.build import build_model
from isthmus.core.model.config import ModelConfig
from isthmus.core.model.contrast import unit
from isthmus.core.model.settings import Settings
from isthmus.core.model.towers import TwoTowers
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import DataError, InputError, PartError

Item = TypeVar("Item")
BARE = ("{}",)
"""A prompt that is the option's own words."""


class Classifier:
    """Encoder and text encoder, and the objective that brought them together.

    It answers a question that has options with the one whose text is nearest to the picture
    (zero-shot classification: Radford et al. 2021, arXiv:2103.00020). Each of the `prompts` is
    written with the option in the place of `{}`, and their vectors are averaged; InputError where
    one has no such place. A `blind` one sees grey in place of every picture.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        objective: TwoTowers,
        prompts: Sequence[str] = BARE,
        blind: bool = False,
    ) -> None:
        for prompt in prompts or ("",):
            if "{}" not in prompt:
                raise InputError(
                    f"prompts: {prompt!r} has no place for an option; write a list of some like "
                    "'a photo of a {}.'"
                )
        self.model = model.eval()
        self.objective = objective.eval()
        self.prompts = tuple(prompts)
        self.blind = blind
        self.tools = model.tools(blind=blind)
        self._known: dict[tuple[str, ...], Tensor] = {}

    @staticmethod
    def of(model: Any, objective: Any, prompts: Sequence[str] = BARE) -> Classifier:
        """Build one of what stands under `model:` and `objective:` in a YAML, as with published
        weights. Raises PartError, or ConfigError."""
        built = build_model(configs.load(ModelConfig, model))
        config: Any = configs.validate_part("objective", objective)
        return Classifier(built, joined(config.build(), built), prompts)

    def blinded(self) -> Classifier:
        """The same one, that sees grey in place of every picture."""
        return Classifier(self.model, self.objective, self.prompts, blind=True)

    @torch.no_grad()
    def pictures(self, pictures: Sequence[Picture | str], batch_size: int = 8) -> Tensor:
        """-> (pictures dim), of length one each. Raises ImageError."""
        rows = []
        for batch in _cut(pictures, batch_size):
            files = [Path(each) if isinstance(each, str) else each for each in batch]
            views = [look(picture, "", self.tools).images() for picture in files]
            images = Images.joined(views).to(self._device)
            rows.append(self.objective.towers.pictures(self.model, images))
        return torch.cat(rows)

    @torch.no_grad()
    def texts(self, texts: Sequence[str], batch_size: int = 8) -> Tensor:
        """-> (texts dim), of length one each."""
        rows = []
        for batch in _cut(texts, batch_size):
            ids = [read(text, self.tools.text_tokenizer) for text in batch]
            text = ConnectorText.of(ids).to(self._device)
            rows.append(self.objective.towers.texts(self.model, text))
        return torch.cat(rows)

    @torch.no_grad()
    def classify(
        self, pictures: Sequence[Picture | str], options: Sequence[str], batch_size: int = 8
    ) -> list[str]:
        """Of the options, the one that is nearest to each picture. Raises DataError where there is
        none, and ImageError."""
        if not options:
            raise DataError("options: there is none to choose from")
        if not pictures:
            return []
        scores = self.pictures(pictures, batch_size) @ self._options(tuple(options)).T
        return [options[best] for best in scores.argmax(dim=1).tolist()]

    def answers(
        self, questions: Sequence[Question], settings: Settings, batch_size: int = 8
    ) -> list[str]:
        """The option that it chooses for each question's picture; there is nothing to generate,
        and `settings` change nothing. Raises DataError where a question has none."""
        for question in questions:
            if not question.options or len(question.images) != 1:
                raise DataError(
                    f"question {question.id!r:.60}: a model without an llm chooses the option that "
                    f"is nearest to a picture; here are {len(question.options)} options and "
                    f"{len(question.images)} pictures"
                )
        seen = self.pictures([question.images[0] for question in questions], batch_size)
        chosen = []
        for row, question in zip(seen, questions, strict=True):
            chosen.append(question.options[int((self._options(question.options) @ row).argmax())])
        return chosen

    def _options(self, options: tuple[str, ...]) -> Tensor:
        """(options dim), kept for the next question."""
        if options not in self._known:
            vectors = [
                self.texts([prompt.replace("{}", option) for option in options])
                for prompt in self.prompts
            ]
            self._known[options] = unit(torch.stack(vectors).mean(dim=0))
        return self._known[options]

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def joined(objective: Any, model: VisionLanguageModel) -> TwoTowers:
    """The objective with the weights of its own. Raises PartError for one that compares nothing."""
    if not isinstance(objective, TwoTowers):
        raise PartError(
            f"objective {objective.name}: choosing takes a model that compares pictures with "
            "texts, one that has learnt by `clip` or `siglip`"
        )
    objective.join(model)
    return objective


def _cut(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[first : first + size] for first in range(0, len(items), size))
