"""The dataset: from the journal, in the plan's order, the same bytes whenever it is made."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from isthmus.core.chat import Journal, Settled, ask, whole
from isthmus.core.contracts import ChatModel, ChatReply, ChatRequest, Exchange
from isthmus.core.data.images import picture_size
from isthmus.core.scene import suspicions
from isthmus.errors import ImageError, Rejected
from isthmus.synthesize.config import SynthesisConfig
from isthmus.synthesize.images import image_at
from isthmus.synthesize.plan import Job, Plan
from isthmus.synthesize.quality import (
    Duplicates,
    Grounding,
    Leaks,
    check_reply,
    check_wording,
)

ASPECT = 0.03
"""Part by which a picture's shape may differ from the annotation's: it may have been scaled."""


@dataclass(frozen=True, slots=True)
class Made:
    """One job and what became of it: a sample, or why there is none."""

    job: Job
    row: dict[str, Any] | None = None
    reason: str = ""
    message: str = ""
    flags: tuple[str, ...] = ()


@dataclass
class Tally:
    """What was counted while samples were made."""

    kept: Counter[str] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)

    def count(self, made: Made) -> None:
        """One more."""
        kind = made.job.recipe.name
        if made.row is None:
            self.rejected[kind, made.reason] += 1
        else:
            self.kept[kind] += 1
            self.flags.update(made.flags)


class Dataset:
    """Makes samples of what the journal has."""

    def __init__(self, config: SynthesisConfig, plan: Plan, model: ChatModel) -> None:
        self.config, self.plan, self.model = config, plan, model
        self.asked = str(model.identity().get("model") or model.name)
        self.grounding = Grounding()
        self.leaks = Leaks(config.quality.evaluation)

    def make(self, journal: Journal) -> Iterator[Made]:
        """Every job in order. Nothing is asked: the journal is open to be read alone."""
        duplicates = Duplicates(self.config.quality.near_duplicates)
        for job, settled in self._settled(journal):
            try:
                yield self._sample(job, settled, duplicates)
            except Rejected as rejected:
                yield Made(job, None, rejected.reason, str(rejected))

    def _settled(self, journal: Journal) -> Iterator[tuple[Job, Settled | None]]:
        """Jobs with what the teacher said; None for those that need no teacher."""
        waiting: deque[tuple[Job, bool]] = deque()

        def requests() -> Iterator[ChatRequest]:
            for job in self.plan.jobs():
                request = job.request(self.model, self.config)
                waiting.append((job, request is not None))
                if request is not None:
                    yield request

        for settled in ask(self.model, requests(), journal):
            while not waiting[0][1]:
                yield waiting.popleft()[0], None
            yield waiting.popleft()[0], settled
        yield from ((job, None) for job, _ in waiting)

    def _sample(self, job: Job, settled: Settled | None, duplicates: Duplicates) -> Made:
        if settled is not None and settled.reply is None:
            raise Rejected(settled.missing, settled.reason)
        reply = settled.reply if settled else None
        if reply is not None:
            check_reply(reply)
        said = whole(reply.text) if reply else ""
        exchanges = [
            Exchange(" ".join(e.question.split()), e.answer.strip())
            for e in job.recipe.read(said, job.scene, job.seed)
        ]
        check_wording(exchanges, self.config.quality, said)
        flags = self._flags(job, exchanges, grounded=reply is not None)
        self._check_image(job)
        self.leaks.check(job.scene.image, exchanges)
        duplicates.check(job.scene.image or job.scene.id, job.recipe.name, job.id, exchanges)
        row = {
            "id": whole(job.id),
            "image": whole(job.scene.image),
            "conversations": _conversations(exchanges, job.seed),
            "kind": job.recipe.name,
            "provenance": self._provenance(job, settled, reply, flags),
        }
        return Made(job, row, flags=flags)

    def _flags(self, job: Job, exchanges: list[Exchange], *, grounded: bool) -> tuple[str, ...]:
        """What is doubtful about a sample and not reason enough to reject it."""
        quality = self.config.quality
        odd = sorted({sign for text in job.scene.captions for sign in suspicions(text)})
        if odd and quality.suspicious == "reject":
            raise Rejected("suspicious", f"captions: {', '.join(odd)}")
        flags = [f"caption:{sign}" for sign in odd]
        if quality.grounding != "off" and grounded:
            for reason, found in (
                ("hallucinated", self.grounding.hallucinated(job.scene, exchanges)),
                ("miscounted", self.grounding.miscounted(job.scene, exchanges)),
            ):
                if found and quality.grounding == "reject":
                    raise Rejected(reason, ", ".join(found))
                flags += [reason] * bool(found)
        return tuple(flags)

    def _check_image(self, job: Job) -> None:
        path = image_at(self.config.scenes.images, job.scene.image)
        if path is None:
            return
        try:
            width, height = picture_size(path, job.scene.id)
        except ImageError as error:
            raise Rejected("image", str(error)) from None
        if job.scene.size is not None:
            wide, high = job.scene.size
            if abs(width * high / (height * wide) - 1) > ASPECT:
                raise Rejected("image", f"{width} x {height} pixels; annotated as {wide} x {high}")

    def _provenance(
        self, job: Job, settled: Settled | None, reply: ChatReply | None, flags: tuple[str, ...]
    ) -> dict[str, Any]:
        made: dict[str, Any] = {
            "scene": whole(job.scene.id),
            "recipe": job.recipe.name,
            "prompt": job.recipe.fingerprint,
            "seed": job.seed,
        }
        if settled is not None and reply is not None:
            price, spent = self.model.config.price, reply.spent
            made |= {
                "teacher": self.asked,
                "returned": whole(reply.model),
                "parameters": self.config.parameters.model_dump(mode="json", exclude_none=True),
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.completion_tokens,
                "cost": price.cost(*spent) if price and spent else None,
                "key": settled.key,
                "reply": hashlib.sha256(whole(reply.text).encode()).hexdigest(),
            }
        return made | ({"flags": list(flags)} if flags else {})


def _conversations(exchanges: list[Exchange], seed: int) -> list[dict[str, str]]:
    """As LLaVA writes them: the image before or after the first question, as the seed has it."""
    turns = []
    for number, each in enumerate(exchanges):
        question = each.question
        if number == 0:
            question = f"<image>\n{question}" if seed % 2 else f"{question}\n<image>"
        turns += [{"from": "human", "value": question}, {"from": "gpt", "value": each.answer}]
    return turns
