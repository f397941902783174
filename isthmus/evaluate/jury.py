"""Who judges, as YAML has it: one chat model, or a list of them, and how they are asked.

{type: openai, model: gpt-4o, price: {prompt: 2.5, completion: 10}}

judges: [{type: openai, model: gpt-4o}, {type: openai, model: qwen, base_url: ...}]
swap: true
ask: {max_cost: 5}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from isthmus.core.chat import AskConfig
from isthmus.core.config import Document, parse, typed
from isthmus.core.config.reader import Reader
from isthmus.core.contracts import ChatModel, ChatParameters, Config, Place
from isthmus.core.data.rows import read_text
from isthmus.evaluate.hearing import requested

JUDGES = "judges"


class JudgeParameters(ChatParameters):
    """How judges reply: the likeliest words, unless told otherwise."""

    temperature: float | None = Field(default=0.0, ge=0)
    """0 takes the likeliest token; null is for models that take no temperature."""


class JuryConfig(Config):
    """Judges, and how they are asked."""

    judges: tuple[ChatModel.Config, ...] = Field(min_length=1)
    """One or several; the score of several is that of their mean verdicts."""
    swap: bool = False
    """Ask twice, with the two answers in either order, and take the mean."""
    parameters: JudgeParameters = JudgeParameters()
    """How replies are drawn."""
    ask: AskConfig = AskConfig()
    """How many calls at once, how patiently, and for how much."""

    def check(self) -> Iterator[tuple[Place, str]]:
        known: list[ChatModel.Config] = []
        for number, judge in enumerate(self.judges):
            priceless = judge.model_copy(update={"price": None})
            if priceless in known:
                yield (JUDGES, number), "is there already; a judge agrees with itself"
            known.append(priceless)


def read_jury(source: str) -> JuryConfig:
    """The jury in a YAML file, or in YAML itself where that begins with { or [.

    Raises ConfigError with every problem.
    """
    inline = source.lstrip().startswith(("{", "["))
    text = source if inline else read_text(Path(source))
    name, folder = ("--judge", None) if inline else (source, Path(source).absolute().parent)
    return typed(JuryConfig, _document(text, name, folder))


def names_of(judges: Sequence[ChatModel]) -> list[str]:
    """What each is called in reviews: as it is asked for, and numbered where two are alike."""
    seen: Counter[str] = Counter()
    names = []
    for name in map(requested, judges):
        seen[name] += 1
        names.append(f"{name} ({seen[name]})" if seen[name] > 1 else name)
    return names


def _document(text: str, source: str, folder: Path | None) -> Document:
    """A list is of judges; a mapping that is one chat model may have settings of the jury beside
    its own."""
    reader = Reader()
    values = reader.read(text)
    if isinstance(values, list) and not reader.problems:
        lines = {(JUDGES, *place): line for place, line in reader.lines.items()}
        return Document({JUDGES: values}, lines, source, folder)
    document = parse(text, source, folder)
    if "type" not in document.values:
        return document
    settings = JuryConfig.model_fields.keys() - {JUDGES}
    own = {key: value for key, value in document.values.items() if key not in settings}
    rest = {key: value for key, value in document.values.items() if key in settings}
    lines = {
        (place if place and place[0] in settings else (JUDGES, 0, *place)): line
        for place, line in document.lines.items()
    }
    return Document({JUDGES: [own], **rest}, lines, source, folder)
