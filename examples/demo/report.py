"""The demo's report: one HTML file with table, loss curves and pictures, and one PNG of it.

The file stands alone: pictures are inside it, it fetches nothing and runs no script.
"""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image
from score import rows

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SHOWN = 12
BLUE, GREY, LIGHT = "#2563eb", "#6b7280", "#d1d5db"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #111827; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } td, th { padding: .3rem .9rem; text-align: right;
       border-bottom: 1px solid #e5e7eb; } td:first-child, th:first-child { text-align: left; }
.big { font-size: 2.4rem; font-weight: 650; color: #2563eb; } .quiet { color: #6b7280; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1rem; }
.card { border: 1px solid #e5e7eb; border-radius: .5rem; padding: .8rem; }
.card img { width: 100%; image-rendering: pixelated; border-radius: .3rem; }
.right { color: #15803d; } .wrong { color: #b91c1c; } img.wide { width: 100%; }
code { background: #f3f4f6; padding: .1rem .3rem; border-radius: .2rem; }
"""


def write_report(folder: Path, results: dict[str, Any]) -> Path:
    """Write `report.html` and `report.png` into the folder; returns the former."""
    examples = chosen_examples(folder)
    picture(folder, results, examples).savefig(folder / "report.png", dpi=110, bbox_inches="tight")
    plt.close("all")
    body = "\n".join(
        [
            headline(results),
            "<h2>Right answers by type of question</h2>",
            table(results),
            "<h2>Loss of every stage</h2>",
            curves(folder),
            "<h2>Twelve pictures no stage has seen</h2>",
            '<div class="cards">',
            *(card(folder, example) for example in examples),
            "</div>",
            "<h2>Time</h2>",
            times(results),
        ]
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>isthmus demo</title><style>{STYLE}</style></head><body>{body}</body></html>"
    )
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    return file


def chosen_examples(folder: Path) -> list[dict[str, Any]]:
    """Twelve questions evenly from the whole list, in its order: not picked by hand."""
    answers = {row["question_id"]: row for row in rows(folder / "data" / "answers.jsonl")}
    given = {row["question_id"]: row["text"] for row in rows(folder / "answers-sighted.jsonl")}
    questions = rows(folder / "data" / "questions.jsonl")
    picked = [questions[index * len(questions) // SHOWN] for index in range(SHOWN)]
    return [
        {**q, "right": answers[q["question_id"]]["answer"], "given": given[q["question_id"]]}
        for q in picked
    ]


def headline(results: dict[str, Any]) -> str:
    return (
        "<h1>A vision-language assistant, built from scratch in "
        f"{results['seconds'] / 60:.1f} minutes</h1>"
        f'<p><span class="big">{results["accuracy"]:.1%}</span> of {results["questions"]} '
        "questions answered right, word for word, about scenes made of handwritten digits that "
        "no stage of training has seen.</p>"
        f'<p class="quiet">The same stages with grey pictures: {results["blind_accuracy"]:.1%}. '
        f"Always the most frequent answer: {results['majority_accuracy']:.1%}. "
        f"Peak memory of both trainings together: {results['peak_rss_gib']:.2f} GiB.</p>"
    )


def table(results: dict[str, Any]) -> str:
    heads = ("type", "questions", "with pictures", "blind", "most frequent answer")
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    columns = ("accuracy", "blind_accuracy", "majority_accuracy")
    for kind, count in results["questions_by_type"].items():
        cells = [html.escape(kind), str(count)]
        cells += [f"{results[column + '_by_type'][kind]:.1%}" for column in columns]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    cells = ["<b>all</b>", str(results["questions"])]
    cells += [f"<b>{results[column]:.1%}</b>" for column in columns]
    lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def times(results: dict[str, Any]) -> str:
    lines = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{seconds:.1f} s</td></tr>"
        for name, seconds in results["seconds_by_stage"].items()
    )
    whole = f"<tr><td><b>all</b></td><td><b>{results['seconds']:.1f} s</b></td></tr>"
    return f"<table>{lines}{whole}</table>"


def card(folder: Path, example: dict[str, Any]) -> str:
    good = example["given"].strip() == example["right"]
    file = folder / "data" / "images" / example["image"]
    return (
        f'<div class="card"><img alt="" src="{embedded(enlarged(file))}">'
        f"<p>{html.escape(example['text'])}<br>"
        f'<b class="{"right" if good else "wrong"}">{html.escape(example["given"])}</b><br>'
        f'<span class="quiet">true: {html.escape(example["right"])}</span></p></div>'
    )


def enlarged(file: Path, side: int = 192) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB").resize((side, side), Image.Resampling.NEAREST)


def embedded(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def losses(folder: Path, name: str) -> dict[str, list[float]]:
    """Loss of every step by stage, from a run's metrics."""
    stages: dict[str, list[float]] = {}
    for line in (folder / name / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "loss" in row:
            stages.setdefault(row["stage"], []).append(row["loss"])
    return stages


def draw_losses(folder: Path, axes: Any) -> None:
    """One panel a stage: the sighted model over the blind one, smoothed."""
    sighted, blind = losses(folder, "sighted"), losses(folder, "blind")
    for panel, stage in zip(axes, sighted, strict=True):
        for values, colour, name in ((blind[stage], GREY, "blind"), (sighted[stage], BLUE, "sees")):
            panel.plot(values, color=colour, alpha=0.2, linewidth=0.7)
            panel.plot(smoothed(values), color=colour, label=name, linewidth=1.6)
        panel.set_title(stage, fontsize=10)
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    axes[0].set_ylabel("loss, nats per token", fontsize=8)
    axes[0].legend(frameon=False, fontsize=8)


def smoothed(values: list[float]) -> list[float]:
    """Running average, so that the course shows through the noise of single steps."""
    rate = min(0.5, 30 / len(values))
    average, course = values[0], []
    for value in values:
        average += rate * (value - average)
        course.append(average)
    return course


def curves(folder: Path) -> str:
    stages = losses(folder, "sighted")
    figure, axes = plt.subplots(1, len(stages), figsize=(9, 2.6), squeeze=False)
    draw_losses(folder, axes[0])
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img class="wide" alt="loss curves" src="data:image/png;base64,{data}">'


def picture(folder: Path, results: dict[str, Any], examples: list[dict[str, Any]]) -> Any:
    """The report as one figure: six pictures, the bars by type, the curves."""
    stages = losses(folder, "sighted")
    figure = plt.figure(figsize=(11, 7.2))
    grid = figure.add_gridspec(3, 12, height_ratios=(1.25, 1.1, 1), hspace=0.55, wspace=1.2)
    for index, example in enumerate(examples[::2]):
        panel = figure.add_subplot(grid[0, 2 * index : 2 * index + 2])
        panel.imshow(enlarged(folder / "data" / "images" / example["image"]))
        panel.set_axis_off()
        good = example["given"].strip() == example["right"]
        words = example["text"].replace(" digit", "\ndigit", 1)
        panel.set_title(words, fontsize=7)
        panel.text(
            0.5, -0.12, example["given"], transform=panel.transAxes, ha="center", fontsize=9,
            weight="bold", color="#15803d" if good else "#b91c1c",
        )  # fmt: skip
    bars = figure.add_subplot(grid[1, :])
    kinds = list(results["questions_by_type"])
    for offset, column, colour, name in (
        (-0.27, "accuracy", BLUE, f"sees: {results['accuracy']:.1%}"),
        (0.0, "blind_accuracy", GREY, f"blind: {results['blind_accuracy']:.1%}"),
        (0.27, "majority_accuracy", LIGHT, f"most frequent: {results['majority_accuracy']:.1%}"),
    ):
        heights = [100 * results[f"{column}_by_type"][kind] for kind in kinds]
        bars.bar([i + offset for i in range(len(kinds))], heights, 0.25, color=colour, label=name)
    bars.set_xticks(range(len(kinds)), kinds, fontsize=8)
    bars.set_ylabel("right answers, %", fontsize=8)
    bars.set_ylim(0, 100)
    bars.spines[["top", "right"]].set_visible(False)
    bars.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.25))
    width = 12 // len(stages)
    draw_losses(
        folder,
        [figure.add_subplot(grid[2, i * width : (i + 1) * width]) for i in range(len(stages))],
    )
    return figure
