"""`transformers`: a chat model of the hub or of a folder, in this process, in batches."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from isthmus import hookimpl
from isthmus.core.chat import whole
from isthmus.core.contracts import BatchChatModel, ChatParameters, ChatReply, ChatRequest
from isthmus.errors import ChatFailure, ChatRefused, InputError, PartError

LONGEST = 512
"""Tokens of a reply where the request sets no limit."""
LOOKS, LOOK = 64, 2**20
"""Places of a file that are looked at, and bytes at each."""


class Transformers(BatchChatModel, name="transformers"):
    """A causal language model with a chat template. Words alone; for images there is `isthmus`."""

    class Config(BatchChatModel.Config):
        """Configuration of `transformers`."""

        model: str = Field(min_length=1)
        """Hub id (`Qwen/Qwen2.5-0.5B-Instruct`) or local folder."""
        batch_size: int = Field(default=8, ge=1)
        """Requests at once."""
        device: str | None = None
        """cpu, cuda, cuda:1, mps; absent, a GPU where there is one."""
        half: bool = False
        """Compute in bf16, as large models on GPUs want."""

    config: Config
    incidental = frozenset({"price", "batch_size", "device"})

    @property
    def most_calls(self) -> int:
        return 1

    @property
    def batch_size(self) -> int:
        return self.config.batch_size

    def identity(self) -> dict[str, Any]:
        """A folder by what is in it, wherever it lies."""
        said, folder = super().identity(), Path(self.config.model).expanduser()
        if folder.is_dir():
            said |= {"model": folder.name, "files": _fingerprint(folder)}
        return said

    async def open(self) -> None:
        await asyncio.to_thread(self._load)

    async def close(self) -> None:
        del self._model

    async def replies(self, requests: Sequence[ChatRequest]) -> Sequence[str | ChatFailure]:
        return await asyncio.to_thread(self._replies, requests)

    def _load(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from isthmus.core.model.pretrained import load_published
        from isthmus.core.model.tokenizer import load_tokenizer

        name = self.config.model
        self._tokenizer = load_tokenizer(self.config, name)
        if self._tokenizer.chat_template is None:
            raise PartError(
                f"chat_model transformers: {name} has no chat template, so it was not taught to "
                "answer; give an instruction-tuned model"
            )
        self._tokenizer.padding_side = "left"
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        model = load_published(self.config, AutoModelForCausalLM, name)
        place = self.config.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            model = model.to(torch.bfloat16 if self.config.half else torch.float32).to(place)
        except RuntimeError:
            raise InputError(f"chat_model transformers: device {place!r} is not there") from None
        self._model = model.eval()

    def _replies(self, requests: Sequence[ChatRequest]) -> list[str | ChatFailure]:
        """Those that are to be drawn alike are answered together."""
        answers: dict[int, str | ChatFailure] = {}
        prompts: dict[int, str] = {}
        for i, request in enumerate(requests):
            try:
                prompts[i] = self._prompt(request)
            except ChatRefused as failure:
                answers[i] = failure
        while prompts:
            settings = requests[next(iter(prompts))].parameters
            alike = [i for i in prompts if requests[i].parameters == settings]
            batch = [(prompts.pop(i), requests[i].number) for i in alike]
            answers |= zip(alike, self._answer(batch, settings), strict=True)
        return [answers[i] for i in range(len(requests))]

    def _prompt(self, request: ChatRequest) -> str:
        from jinja2 import TemplateError

        messages = [{"role": turn.role, "content": whole(turn.text)} for turn in request.turns]
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True
                )
            )
        except TemplateError as error:
            raise ChatRefused(f"the chat template does not take these turns: {error}") from None

    def _answer(
        self, prompts: Sequence[tuple[str, int]], parameters: ChatParameters
    ) -> list[str | ChatFailure]:
        import torch

        texts, numbers = zip(*prompts, strict=True)
        inputs = self._tokenizer(
            list(texts), return_tensors="pt", padding=True, add_special_tokens=False
        )
        longest = parameters.max_tokens or LONGEST
        settings: dict[str, Any] = {"max_new_tokens": longest, "do_sample": False}
        if parameters.temperature:
            settings["logits_processor"] = [_draw(parameters, numbers)]
        with torch.inference_mode():
            ids = self._model.generate(
                **inputs.to(self._model.device),
                **settings,
                pad_token_id=self._tokenizer.pad_token_id,
            )
        new = ids[:, inputs["input_ids"].shape[1] :].tolist()
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        return [self._reply(own, length, longest) for own, length in zip(new, lengths, strict=True)]

    def _reply(self, ids: list[int], prompt_tokens: int, longest: int) -> str:
        """`ids` up to the first stop; behind it stands padding."""
        stops = self._model.generation_config.eos_token_id
        stops = set(stops if isinstance(stops, list) else [stops])
        end = next((i for i, token in enumerate(ids) if token in stops), None)
        said = ids[:end]
        return ChatReply(
            text=self._tokenizer.decode(said, skip_special_tokens=True).strip(),
            finish="stop" if end is not None else "length",
            model=self.config.model,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(said),
        ).raw()


def _fingerprint(folder: Path) -> str:
    """Of names, sizes and contents; of a large file, of places spread over it."""
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.name} {size} ".encode())
        with file.open("rb") as content:
            for at in range(0, size, max(size // LOOKS, LOOK)):
                content.seek(at)
                digest.update(content.read(LOOK))
    return digest.hexdigest()


def _draw(parameters: ChatParameters, numbers: Sequence[int]) -> Callable[[Any, Any], Any]:
    """Turns scores (batch vocabulary) into ones whose largest is a draw (Gumbel's trick): of each
    row by its own generator, so that a reply does not depend on who else is in the batch."""
    import torch

    from isthmus.core.model.draw import part_seed

    seed, temperature = parameters.seed or 0, parameters.temperature or 1.0
    draws = [torch.Generator().manual_seed(part_seed(seed, str(number))) for number in numbers]

    def process(_: Any, scores: Any) -> Any:
        shares = (scores.float().cpu() / temperature).log_softmax(dim=-1)
        if parameters.top_p is not None:
            best, order = shares.exp().sort(dim=-1, descending=True, stable=True)
            # A token stays while those before it have less than the wanted share.
            out = best.cumsum(dim=-1) - best >= parameters.top_p
            shares[out.gather(-1, order.argsort(dim=-1))] = float("-inf")
        noise = [torch.rand(shares.shape[1], generator=draw) for draw in draws]
        gumbel = -torch.log(-torch.log(torch.stack(noise).clamp(1e-20, 1 - 1e-7)))
        return (shares + gumbel).to(scores.device)

    return process


@hookimpl
def register_chat_models(register: Callable[[type], None]) -> None:
    register(Transformers)
