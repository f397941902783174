"""The assistant: a trained model, its template, and the ways of asking it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from isthmus.core import checkpoint
from isthmus.core import config as configs
from isthmus.core.assistant.answer_text import AnswerText
from isthmus.core.assistant.messages import Conversation, Message, read_messages
from isthmus.core.checkpoint import CHECKPOINTS, Checkpoint
from isthmus.core.contracts import Sample, Template
from isthmus.core.data.pack import encode_prompt
from isthmus.core.model.generate import Prompt, Settings, Stops, generate, stream
from isthmus.core.model.vlm import VisionLanguageModel
from isthmus.errors import CheckpointError, InputError, PartError


class Assistant:
    """Answers messages (see `messages.py`), one conversation at a time or many.

    A `blind` one sees grey in place of every picture, as it did when it was trained.
    """

    def __init__(
        self, model: VisionLanguageModel, template: Template, blind: bool = False, name: str = ""
    ) -> None:
        if model.llm is None:
            raise PartError("answering takes an `llm`, and this model has none")
        self.model = model.requires_grad_(False).eval()
        self.template = template
        self.name = name
        self.tokenizer = model.llm.tokenizer
        self.tools = model.tools(template, blind=blind)
        self.stops, self._stop = _stops(template, self.tokenizer)

    def reply(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> str:
        """The assistant's next words.

        At temperature 0 the likeliest token is taken; above it, tokens are drawn from the
        likeliest that make up `top_p` of the probability, as `seed` says. Raises DataError
        and ImageError for messages that are wrong.
        """
        settings = _settings(max_new_tokens, temperature, top_p, seed)
        return self._answers([self._prompt(messages, "messages")], settings)[0]

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Iterator[str]:
        """`reply` in pieces, as they become certain; end to end they are the same text."""
        settings = _settings(max_new_tokens, temperature, top_p, seed)
        return self._pieces(self._prompt(messages, "messages"), settings)

    def answer(
        self,
        conversations: Sequence[Sequence[Message] | Conversation],
        batch_size: int = 8,
        *,
        numbers: Sequence[int] | None = None,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """A reply to each conversation, `batch_size` of them at once.

        What is drawn for a conversation follows from its number, by default its place in
        the list, and from `seed`; not from its neighbours in a batch.
        """
        settings = _settings(max_new_tokens, temperature, top_p, seed)
        numbers = range(len(conversations)) if numbers is None else numbers
        texts: list[str] = []
        for first in range(0, len(conversations), batch_size):
            prompts = [
                self._prompt(conversations[i], f"conversations[{i}]", numbers[i])
                for i in range(first, min(first + batch_size, len(conversations)))
            ]
            texts += self._answers(prompts, settings)
        return texts

    def _prompt(
        self, messages: Sequence[Message] | Conversation, where: str, number: int = 0
    ) -> Prompt:
        talk = messages if isinstance(messages, Conversation) else read_messages(messages, where)
        sample = Sample(where, talk.turns, talk.pictures, where)
        encoded = encode_prompt(sample, self.tools)
        return Prompt(encoded.ids, encoded.visual, encoded.images, number)

    def _answers(self, prompts: Sequence[Prompt], settings: Settings) -> list[str]:
        texts = []
        for answer in generate(self.model, prompts, settings, self.stops):
            text = AnswerText(self.tokenizer, self._stop)
            text.add(list(answer.ids))
            texts.append(text.text)
        return texts

    def _pieces(self, prompt: Prompt, settings: Settings) -> Iterator[str]:
        text = AnswerText(self.tokenizer, self._stop)
        for (token,) in stream(self.model, [prompt], settings, self.stops):
            if token is not None and (piece := text.add([token])):
                yield piece
        if rest := text.finish():
            yield rest


def load(
    folder: Path | str, device: str | None = None, dtype: torch.dtype | None = None
) -> Assistant:
    """The assistant in a checkpoint folder, or in the newest whole checkpoint of a run.

    On a GPU where there is one; in bf16 there if the run was, else in fp32. Damaged newer
    checkpoints are warned of. Raises CheckpointError.
    """
    opened = checkpoint.load(folder)
    for line in opened.skipped:
        warnings.warn(f"skipped a checkpoint: {line}", stacklevel=2)
    return assistant_of(opened, device, dtype)


def assistant_of(
    opened: Checkpoint, device: str | None = None, dtype: torch.dtype | None = None
) -> Assistant:
    """The assistant in a checkpoint that is open already; see `load`."""
    run = configs.parse(opened.run, str(opened.folder / "run.yaml")).values
    template = _template(opened, run)
    place = _device(device)
    if dtype is None:
        half = run.get("precision") == "bf16" and place.type == "cuda"
        dtype = torch.bfloat16 if half else torch.float32
    model = opened.model()
    for parameter in model.parameters():
        # Parameters alone: rotary frequencies are buffers, and need fp32.
        parameter.data = parameter.data.to(dtype)
    return Assistant(model.to(place), template, run.get("blind") is True, name_of(opened.folder))


def name_of(folder: Path) -> str:
    """`llava/02-instruct-005196`: the run and its checkpoint."""
    folder = folder.resolve()
    run = folder.parent.parent.name if folder.parent.name == CHECKPOINTS else ""
    return f"{run}/{folder.name}" if run else folder.name


def _template(opened: Checkpoint, run: Mapping[str, Any]) -> Template:
    """That of the stage which the checkpoint was saved in, or else the run's."""
    stages = run.get("stages") or [{}]
    index = opened.trainer.index if opened.trainer else -1
    try:
        stage = stages[index]
    except IndexError:
        raise CheckpointError(
            f"{opened.folder}: trainer.json counts more stages than run.yaml has"
        ) from None
    written = stage.get("template") or run.get("template")
    if not written:
        raise CheckpointError(
            f"{opened.folder}: run.yaml names no template, so this model was not taught to answer"
        )
    fields = {"type": written} if isinstance(written, str) else written
    template: Template = configs.validate_part("template", fields).build()
    return template


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r}: unknown; write cpu, cuda, cuda:1 or mps") from None
    here = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }.get(device.type, 0)
    if (device.index or 0) >= here:
        raise InputError(f"device {name!r}: this machine has none, or torch does not see it")
    return device


def _settings(max_new_tokens: int, temperature: float, top_p: float, seed: int) -> Settings:
    values = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "seed": seed,
    }
    return configs.load(Settings, values)


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
