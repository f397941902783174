"""What a comparison of connectors came to: read from its folder, as CSV, Markdown and picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from compared_picture import draw
from jobs import Cost, steps_of

NAME = "connectors-compared"
BEGIN, END = "<!-- what the command wrote -->\n", "<!-- end of what the command wrote -->\n"
TAIL = 50
"""Steps at the end of a stage that its loss is the mean of."""


@dataclass(frozen=True)
class Score:
    """Right answers in percent, with their 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """A connector: what it costs and what it reached; `scores` are of `all` and of each type."""

    connector: str
    visual_tokens: int
    parameters: int
    samples_per_s: float | None
    tokens_per_s: float | None
    peak_gib: float
    align_loss: float
    instruct_loss: float
    scores: dict[str, Score]


FIGURES = ("samples_per_s", "tokens_per_s", "peak_gib", "align_loss", "instruct_loss")


def read_rows(folder: Path, names: Sequence[str]) -> list[Row]:
    """Of every connector that the folder's evaluation has."""
    scores = read_scores(folder / "evaluation")
    return [read_row(folder, name, scores[name]) for name in names]


def read_scores(evaluation: Path) -> dict[str, dict[str, Score]]:
    """Model -> `all` and type of question -> score, from the answers."""
    from isthmus.core.config import load
    from isthmus.evaluate.config import EvaluationConfig
    from isthmus.evaluate.exam import open_exams
    from isthmus.evaluate.intervals import interval
    from isthmus.evaluate.results import read_section
    from isthmus.evaluate.sums import clusters_of, headline, total

    config = load(EvaluationConfig, evaluation / "evaluation.yaml")
    (exam,) = open_exams(config.benchmarks, config.max_questions)
    of_type = {"all": list(range(len(exam.questions)))}
    for at, question in enumerate(exam.questions):
        of_type.setdefault(question.labels[0], []).append(at)
    measure = headline(exam.benchmark)
    found: dict[str, dict[str, Score]] = {}
    for entry in read_section(exam, config).entries:
        found[entry.model] = {}
        for kind, places in of_type.items():
            outcomes = [entry.outcomes[at] for at in places]
            clusters = clusters_of([exam.questions[at] for at in places])
            value = measure(total(outcomes))
            between = interval(measure, [outcomes], clusters) or (value, value)
            found[entry.model][kind] = Score(value, *between)
    return found


def read_row(folder: Path, name: str, scores: dict[str, Score]) -> Row:
    """With what its training took."""
    from safetensors import safe_open

    from isthmus.core.checkpoint import load
    from isthmus.core.contracts import Grid

    checkpoint = load(folder / name, deep=False)
    shape = checkpoint.config.encoder.config
    side = shape["image_size"] // shape["patch_size"]
    parameters, file = 0, checkpoint.manifest.parts["connector"].file
    if file:
        with safe_open(checkpoint.folder / file, framework="pt") as tensors:
            parameters = sum(tensors.get_tensor(key).numel() for key in tensors.keys())  # noqa: SIM118
    steps, cost = steps_of(folder / name), Cost.read(folder / f"{name}.json")
    samples = sum(row["samples_per_s"] * row["seconds"] for row in steps)
    tokens = sum(row["tokens_per_s"] * row["seconds"] for row in steps)
    losses = {
        stage: fmean([row["loss"] for row in steps if row["stage"] == stage][-TAIL:])
        for stage in ("align", "instruct")
    }
    return Row(
        connector=name,
        visual_tokens=checkpoint.config.connector.num_tokens((Grid(side, side),)),
        parameters=parameters,
        samples_per_s=samples / cost.cpu_seconds if cost.cpu_seconds else None,
        tokens_per_s=tokens / cost.cpu_seconds if cost.cpu_seconds else None,
        peak_gib=cost.peak_gib,
        align_loss=losses["align"],
        instruct_loss=losses["instruct"],
        scores=scores,
    )


def write_csv(rows: Sequence[Row], file: Path) -> None:
    """One line a connector; a score has its interval in the two columns behind it."""
    with file.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        ends = ("", "_low", "_high")
        kinds = [kind + end for kind in rows[0].scores for end in ends]
        writer.writerow(["connector", "visual_tokens", "parameters", *FIGURES, *kinds])
        for row in rows:
            figures = [getattr(row, name) for name in FIGURES]
            shown = ["" if each is None else f"{each:.4g}" for each in figures]
            scores = [f"{x:.1f}" for s in row.scores.values() for x in (s.value, s.low, s.high)]
            writer.writerow([row.connector, row.visual_tokens, row.parameters, *shown, *scores])


def read_csv(file: Path) -> list[Row]:
    """What `write_csv` wrote."""
    rows = []
    with file.open(newline="") as lines:
        for line in csv.DictReader(lines):
            kinds = [key.removesuffix("_low") for key in line if key.endswith("_low")]
            scores = {
                kind: Score(*(float(line[kind + end]) for end in ("", "_low", "_high")))
                for kind in kinds
            }
            figures = {name: float(line[name]) if line[name] else None for name in FIGURES}
            counts = {name: int(line[name]) for name in ("visual_tokens", "parameters")}
            rows.append(Row(line["connector"], **counts, **figures, scores=scores))
    return rows


def tables(rows: Sequence[Row]) -> str:
    """Markdown: what each reached by type of question, and what it cost."""
    kinds = list(rows[0].scores)
    reached = [["connector", "visual tokens", *kinds]]
    cost = [["connector", "trainable parameters", "samples/s", "tokens/s", "peak memory, GiB",
             "loss of align", "loss of instruct"]]  # fmt: skip
    for row in rows:
        first, *others = row.scores.values()
        shown = [f"**{first.value:.1f}** ({first.low:.1f} to {first.high:.1f})"]
        shown += [f"{each.value:.0f} ({each.low:.0f}-{each.high:.0f})" for each in others]
        reached.append([f"`{row.connector}`", str(row.visual_tokens), *shown])
        speeds = [f"{x:,.0f}" if x else "-" for x in (row.samples_per_s, row.tokens_per_s)]
        figures = [f"{x:.2f}" for x in (row.peak_gib, row.align_loss, row.instruct_loss)]
        cost.append([f"`{row.connector}`", f"{row.parameters:,}", *speeds, *figures])
    return f"{_markdown(reached)}\n{_markdown(cost)}"


PICTURE = f"""
[The same as CSV]({NAME}.csv)

![Right answers of every connector, by type of question, and what each costs](images/{NAME}.svg)
"""
"""What stands below the tables in docs/."""


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in lines[0][1:])]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (lines[0], rule, *lines[1:]))


def write_files(rows: Sequence[Row], folder: Path, docs: Path | None = None) -> None:
    """CSV, Markdown and picture into `folder`; and into `docs`, whose page has prose around it."""
    write_csv(rows, folder / f"{NAME}.csv")
    rows = read_csv(folder / f"{NAME}.csv")
    (folder / f"{NAME}.md").write_text(tables(rows))
    draw(rows, folder / f"{NAME}.svg")
    if docs is None:
        return
    page = docs / f"{NAME}.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{tables(rows)}{PICTURE}\n{END}{rest.partition(END)[2]}")
    (docs / f"{NAME}.csv").write_text((folder / f"{NAME}.csv").read_text())
    (docs / "images" / f"{NAME}.svg").write_text((folder / f"{NAME}.svg").read_text())
