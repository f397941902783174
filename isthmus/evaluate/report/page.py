"""The page around the numbers: what `page.html` is filled with, and what it may run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.evaluate.published import Row
from isthmus.evaluate.report.bars import Group, groups
from isthmus.evaluate.report.radar import Radar, radar
from isthmus.evaluate.report.samples import samples, script_json
from isthmus.evaluate.report.summary import FREQUENT, Line, columns_of, lines
from isthmus.evaluate.report.thumbnails import Thumbnails, chunks
from isthmus.evaluate.results import Pair, Section

HERE = Path(__file__).parent
CHUNK = 48
"""Pictures that the page reads at once."""
TILES = 6
"""Scores that stand out by themselves, at most."""


@dataclass(frozen=True)
class View:
    """One benchmark as the template has it."""

    name: str
    kind: str
    about: str
    size: str
    headline: str
    columns: list[str]
    lines: list[Line]
    groups: list[Group]
    scale: float
    radar: Radar | None
    pairs: list[str]
    notes: list[str]

    @property
    def models(self) -> list[Line]:
        """The rows of models alone."""
        return [line for line in self.lines if line.kind == "model"]

    @property
    def controlled(self) -> bool:
        """Whether there is any control."""
        return any(line.kind == "control" for line in self.lines)

    def controls(self, model: Line) -> list[Line]:
        """The rows of a model's controls."""
        return [e for e in self.lines if e.kind == "control" and e.colour == model.colour]


@dataclass(frozen=True)
class Overview:
    """A benchmark's row in the table of all, with a place for each model of the page."""

    view: View
    lines: list[Line | None]
    frequent: str

    @property
    def name(self) -> str:
        return self.view.name

    @property
    def headline(self) -> str:
        return self.view.headline

    def controls(self, model: Line) -> list[Line]:
        """The rows of a model's controls."""
        return self.view.controls(model)


def render(sections: Sequence[Section], title: str, rows: Sequence[Row], most: int) -> str:
    """The whole page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    models = {entry.model: entry for section in sections for entry in section.entries}
    colours = {model: number for number, model in enumerate(models)}
    views = [_view(section, colours, rows) for section in sections]
    pictures = Thumbnails()
    listed = [samples(section, most, pictures) for section in sections]
    style, script = _part("page.css"), _part("browser.js")
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=title,
        models=list(models.values()),
        colours=colours,
        views=views,
        overview=_overview(views, len(models)),
        frequent=FREQUENT,
        style=style,
        script=script,
        policy=_policy(style, script),
        samples=script_json({"benchmarks": listed, "chunk": CHUNK}),
        pictures=[script_json(chunk) for chunk in chunks(pictures.drawn, CHUNK)],
    )


def _view(section: Section, colours: Mapping[str, int], rows: Sequence[Row]) -> View:
    benchmark = section.exam.benchmark
    headline, columns = columns_of(section)
    bars, scale = groups(section, colours)
    return View(
        name=section.name,
        kind=benchmark.name,
        about=(benchmark.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " "),
        size=_size(section),
        headline=headline,
        columns=columns,
        lines=lines(section, colours, rows),
        groups=bars,
        scale=scale,
        radar=radar(section, colours, rows),
        pairs=[_compared(pair) for pair in section.pairs],
        notes=list(_notes(section)),
    )


def _overview(views: Sequence[View], models: int) -> list[Overview]:
    """Every score in one table, where there are too many to stand out by themselves."""
    if sum(len(view.models) for view in views) <= TILES:
        return []
    found = []
    for view in views:
        own = {line.colour: line for line in view.models}
        frequent = next((e.cells[0] for e in view.lines if e.kind == "frequent"), "-")
        found.append(Overview(view, [own.get(number) for number in range(models)], frequent))
    return found


def _size(section: Section) -> str:
    """How many questions, and which settings of the benchmark are not the usual ones."""
    exam = section.exam
    count, whole = len(exam.questions), len(exam.all)
    asked = f"{count:,} questions" if count == whole else f"{count:,} of {whole:,} questions"
    config = exam.benchmark.config
    usual = {name: field.get_default() for name, field in type(config).model_fields.items()}
    own = (
        f"{name} {str(value).lower() if isinstance(value, bool) else value}"
        for name, value in config
        if isinstance(value, bool | int | str) and value != usual[name]
    )
    return ", ".join([asked, *own])


def _compared(pair: Pair) -> str:
    by, chance = pair.comparison.difference, pair.comparison.p_value
    more = "more" if by >= 0 else "less"
    likely = "below 0.001" if chance < 0.001 else f"of {chance:.3f}"
    return (
        f"{pair.second} scores {abs(by):.1f} {more} than {pair.first}; chance alone gives as much "
        f"with a probability {likely}."
    )


def _notes(section: Section) -> Iterator[str]:
    """What has to be known beside the numbers."""
    for entry in section.entries:
        if not entry.scores:
            yield f"{entry.model}: no judge has read the answers yet, so there is no score."
            continue
        missing, total = set(entry.scores.missing), entry.scores.n_total
        unread = sum(id not in missing for id in entry.scores.invalid)
        if unread:
            yield f"{entry.model}: unreadable, and wrong: {unread:,} of {total:,} answers."
        if missing:
            yield f"{entry.model}: missing, and in no number: {len(missing):,} of {total:,} values."


def _part(name: str) -> str:
    return (HERE / name).read_text(encoding="ascii")


def _policy(style: str, script: str) -> str:
    """The browser runs this script, and nothing that may have got into the page otherwise."""
    return (
        "default-src 'none'; img-src data:; "
        f"style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
