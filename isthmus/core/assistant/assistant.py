"""The assistant: a trained model, its template, and the ways of asking it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from isthmus.core import config as configs
from isthmus.core.assistant.answer_text import AnswerText
from isthmus.core.assistant.messages import Conversation, Message, read_messages
from isthmus.core.assistant.questions import Question
from isthmus.core.contracts import Sample, Template
from isthmus.core.data.pack import encode_prompt
from isthmus.core.model.generate import Ending, Prompt, Stops, generate, stream
from isthmus.core.model.settings import Settings
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import PartError

LONGEST = 512
"""Tokens of an answer at most, where nothing else is said."""


class Generation(TypedDict, total=False):
    """How answers are generated: fields of `Settings` as keywords; any may be left out."""

    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True)
class FullAnswer:
    """An answer, why it ended, and how many tokens it and its prompt have (visual ones too)."""

    text: str
    ending: Ending
    prompt_tokens: int
    tokens: int


class Assistant:
    """Answers messages (see `messages.py`), one conversation at a time or many.

    A `blind` one sees grey in place of every picture, as it did when it was trained. The model
    is put into eval mode, and nothing else of it is changed: it may be one in training.
    """

    def __init__(
        self, model: VisionLanguageModel, template: Template, blind: bool = False, name: str = ""
    ) -> None:
        if model.llm is None:
            raise PartError("answering takes an `llm`, and this model has none")
        self.model = model.eval()
        self.template = template
        self.blind = blind
        self.name = name
        self.tokenizer = model.llm.tokenizer
        self.tools = model.tools(template, blind=blind)
        self.stops, self._stop = _stops(template, self.tokenizer)

    def blinded(self) -> Assistant:
        """The same one, that sees grey in place of every picture."""
        return Assistant(self.model, self.template, blind=True, name=self.name)

    def reply(self, messages: Sequence[Message], **how: Unpack[Generation]) -> str:
        """The assistant's next words, of `max_new_tokens` (512) at most.

        At `temperature` 0 (the default) the likeliest token is taken; above it, tokens are drawn
        from the likeliest that make up `top_p` (1) of the probability, as `seed` (0) says. Raises
        DataError and ImageError for messages that are wrong, ConfigError for such a keyword.
        """
        settings = _settings(how)
        return self._full_answers([self._prompt(messages, "messages")], settings)[0].text

    def stream(self, messages: Sequence[Message], **how: Unpack[Generation]) -> Iterator[str]:
        """`reply` in pieces, as they become certain; end to end they are the same text."""
        settings = _settings(how)
        return self._pieces(self._prompt(messages, "messages"), settings)

    def answer(
        self,
        conversations: Sequence[Sequence[Message] | Conversation],
        batch_size: int = 8,
        *,
        numbers: Sequence[int] | None = None,
        **how: Unpack[Generation],
    ) -> list[str]:
        """A reply to each conversation, `batch_size` of them at once.

        What is drawn for a conversation follows from its number, by default its place in
        the list, and from `seed`; not from its neighbours in a batch.
        """
        answers = self.full_answers(conversations, batch_size, numbers=numbers, **how)
        return [answer.text for answer in answers]

    def answers(
        self, questions: Sequence[Question], settings: Settings, batch_size: int = 8
    ) -> list[str]:
        """An answer to each question of a file, drawn by the question's own number."""
        return self.answer(
            [question.conversation() for question in questions],
            batch_size,
            numbers=[question.number for question in questions],
            **settings.model_dump(),
        )

    def full_answers(
        self,
        conversations: Sequence[Sequence[Message] | Conversation],
        batch_size: int = 8,
        *,
        numbers: Sequence[int] | None = None,
        **how: Unpack[Generation],
    ) -> list[FullAnswer]:
        """`answer`, with what there is to know of each answer besides its words."""
        settings = _settings(how)
        numbers = range(len(conversations)) if numbers is None else numbers
        answers: list[FullAnswer] = []
        for first in range(0, len(conversations), batch_size):
            prompts = [
                self._prompt(conversations[i], f"conversations[{i}]", numbers[i])
                for i in range(first, min(first + batch_size, len(conversations)))
            ]
            answers += self._full_answers(prompts, settings)
        return answers

    def _prompt(
        self, messages: Sequence[Message] | Conversation, where: str, number: int = 0
    ) -> Prompt:
        talk = messages if isinstance(messages, Conversation) else read_messages(messages, where)
        sample = Sample(where, talk.turns, talk.pictures, where)
        encoded = encode_prompt(sample, self.tools)
        return Prompt(
            encoded.ids, encoded.visual, encoded.images, number, encoded.stands, encoded.texts
        )

    def _full_answers(self, prompts: Sequence[Prompt], settings: Settings) -> list[FullAnswer]:
        answers = []
        generated = generate(self.model, prompts, settings, self.stops)
        for prompt, answer in zip(prompts, generated, strict=True):
            text = AnswerText(self.tokenizer, self._stop)
            text.add(list(answer.ids))
            answers.append(FullAnswer(text.text, answer.ending, len(prompt.ids), len(answer.ids)))
        return answers

    def _pieces(self, prompt: Prompt, settings: Settings) -> Iterator[str]:
        text = AnswerText(self.tokenizer, self._stop)
        for (token,) in stream(self.model, [prompt], settings, self.stops):
            if token is not None and (piece := text.add([token])):
                yield piece
        if rest := text.finish():
            yield rest


def _settings(how: Generation) -> Settings:
    return configs.load(Settings, {"max_new_tokens": LONGEST, **how})


def _stops(template: Template, tokenizer: Any) -> tuple[Stops, str]:
    """What ends an answer, and its stop if that is written in characters.

    A control token ends it by id, since its characters may also be typed. The end of text
    always ends it.
    """
    stop = template.stop(tokenizer)
    control = stop in tokenizer.get_added_vocab()
    ids = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(stop) if control else None}
    text = "" if control else stop
    return Stops(frozenset(ids - {None}), (text,) if text else ()), text
