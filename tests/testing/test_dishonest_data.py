"""The kit catches templates and sources that break their promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from isthmus.core.contracts import (
    ControlSpan,
    ImageSpan,
    NoStart,
    Sample,
    Source,
    Span,
    Template,
    TextSpan,
    Turn,
)
from isthmus.core.data.spans import content
from isthmus.testing import ContractBroken, check_source, check_template, tiny_samples


class Lines(Template, name="lines"):
    """An honest template: `Q: question A: answer</s>`."""

    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        spans: list[Span] = []
        for turn in turns:
            learnt = turn.role == "assistant"
            words = content(turn, supervised=learnt)
            head: list[Span] = [TextSpan(" ", supervised=True)] if learnt else [TextSpan("Q: ")]
            tail: list[Span] = [self.end()] if learnt else [TextSpan(" A:")]
            spans += [*head, *words, *tail]
        return spans

    def prompt(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        return self.spans(turns, tokenizer)

    def stop(self, tokenizer: Any) -> str:
        return "</s>"

    def end(self) -> Span:
        return ControlSpan("</s>", supervised=True)


class NeverStops(Lines, name="never_stops"):
    def end(self) -> Span:
        return ControlSpan("</s>")


class MadeUpToken(Lines, name="made_up_token"):
    def end(self) -> Span:
        return ControlSpan("<eot>", supervised=True)


class LearnsQuestions(Lines, name="learns_questions"):
    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        spans = super().spans(turns, tokenizer)
        return [replace(s, supervised=True) if isinstance(s, TextSpan) else s for s in spans]


class BelievesUsers(Lines, name="believes_users"):
    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        spans = super().spans(turns, tokenizer)
        return [replace(s, typed=False) if isinstance(s, TextSpan) else s for s in spans]


class LosesImages(Lines, name="loses_images"):
    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        return [s for s in super().spans(turns, tokenizer) if s != ImageSpan(1)]


class StartsLate(Lines, name="starts_late"):
    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        return [*super().spans(turns, tokenizer), NoStart()]


class PromptsOtherwise(Lines, name="prompts_otherwise"):
    def prompt(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        return [*super().prompt(turns, tokenizer), TextSpan(" Answer:")]


class PromptsWithSpace(Lines, name="prompts_with_space"):
    def prompt(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        return [*super().prompt(turns, tokenizer), TextSpan(" ")]


class Counts(Lines, name="counts"):
    """Writes something else each time."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.count = 0

    def spans(self, turns: Sequence[Turn], tokenizer: Any) -> list[Span]:
        self.count += 1
        return [TextSpan(f"{self.count}."), *super().spans(turns, tokenizer)]


def test_honest_template_passes() -> None:
    check_template(Lines.Config())


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (NeverStops, r"each with the stop '</s>'; here it is \[' A red dog.'\]"),
        (MadeUpToken, "the tokenizer knows no control token like .*<eot>"),
        (LearnsQuestions, "supervised are the answers"),
        (BelievesUsers, "or a </s> among them would be a control token"),
        (LosesImages, r"images stand in the order \[0, 1\], the template has them as \[0\]"),
        (StartsLate, "NoStart stands first or nowhere"),
        (PromptsOtherwise, "does not begin"),
        (PromptsWithSpace, "before the space that may stand there"),
        (Counts, "in a data worker, or asked twice"),
    ],
)
def test_a_template_that_breaks_a_promise_is_caught(part: Any, message: str) -> None:
    with pytest.raises(ContractBroken, match=message):
        check_template(part.Config())


class Few(Source, name="few"):
    """An honest source: three samples."""

    class Config(Source.Config):
        """Configuration of `few`."""

        reverse: bool = False
        """The last sample first."""

    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config
        self.samples = tiny_samples()[:: -1 if config.reverse else 1]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    @property
    def fingerprint(self) -> str:
        return ",".join(sample.id for sample in self.samples)


class Restless(Few, name="restless"):
    """Gives what it has in another order each time."""

    reads = 0

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        return self.samples[(index + self.reads // len(self)) % len(self)]


class SlotTwice(Few, name="slot_twice"):
    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return replace(sample, turns=sample.turns * 2)


class Anonymous(Few, name="anonymous"):
    def __getitem__(self, index: int) -> Sample:
        return replace(super().__getitem__(index), origin="")


class NumberedIds(Few, name="numbered_ids"):
    def __getitem__(self, index: int) -> Sample:
        return replace(super().__getitem__(index), id=index)  # type: ignore[arg-type]


class LateSystem(Few, name="late_system"):
    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return replace(sample, turns=(*sample.turns, Turn("system", ("Be brief.",))))


class OwnWeight(Few, name="own_weight"):
    @property
    def weight(self) -> float:
        return 3.0


class AnswersOnly(Few, name="answers_only"):
    def texts(self) -> Iterator[str]:
        return iter(turn.text for sample in self.samples for turn in sample.turns[1::2])


class Unskipped(Few, name="unskipped"):
    def stream(self, skip: int = 0) -> Iterator[Sample]:
        return iter(self.samples)


class SameName(Few, name="same_name"):
    @property
    def fingerprint(self) -> str:
        return "few"


def test_honest_source_passes() -> None:
    check_source(Few.Config(weight=2), Few.Config(reverse=True))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Restless, "asked twice, it gives other samples"),
        (SlotTwice, r"1 images have each one slot in the turns, .* the slots are \[0, 0\]"),
        (Anonymous, "`origin` says where the record stands"),
        (NumberedIds, "`id` is a string, not 0"),
        (LateSystem, "a system turn stands first or nowhere"),
        (OwnWeight, "it must be the configuration's `weight`"),
        (AnswersOnly, "it gives every turn's words, in order"),
        (Unskipped, "it gives the same samples in order, but for those to skip"),
        (SameName, "other records have the same one"),
    ],
)
def test_a_source_that_breaks_a_promise_is_caught(part: Any, message: str) -> None:
    with pytest.raises(ContractBroken, match=message):
        check_source(part.Config(), part.Config(reverse=True))
