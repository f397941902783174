"""The picture of a comparison: accuracy with intervals, by type of question, and the cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compared import Row

FAMILIES = {
    "every patch": ("#2563a8", ("identity", "linear", "mlp")),
    "squares of patches": ("#0f8a6d", ("pixel_shuffle", "pool", "c_abstractor")),
    "learned queries": ("#c2570c", ("cross_attention", "resampler", "qformer")),
    "inside the LLM": ("#7a3fa0", ("gated_cross_attention",)),
}
"""Kind of connector -> colour, and who is of it."""
INK, FAINT = "#1c1f24", "#6b7280"


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw one line a connector into an SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style = {"svg.hashsalt": file.stem, "font.size": 9.5, "text.color": INK, "xtick.color": FAINT}
    with rc_context(style):
        height = 1.5 + 0.42 * len(rows)
        figure = Figure(figsize=(12.4, height), facecolor="white", layout="constrained")
        kinds = [kind for kind in rows[0].scores if kind != "all"]
        widths = (4.0, 0.6 * len(kinds), 3.9)
        panels = figure.subplots(1, 3, sharey=True, width_ratios=widths)
        panels[0].set_ylim(len(rows) - 0.5, -0.5)
        _whole(panels[0], rows)
        _types(panels[1], rows, kinds)
        _costs(panels[2], rows)
        titles = ("right answers, %, with 95 % interval", "by type of question, %", "what it costs")
        for panel, title in zip(panels, titles, strict=True):
            panel.set_title(title, fontsize=10.5, fontweight="bold", loc="left", pad=32)
            panel.tick_params(length=0, top=False, labeltop=True, labelbottom=False, labelsize=8)
            panel.spines[:].set_visible(False)
        figure.savefig(file, metadata={"Date": None})


def _whole(panel: Any, rows: Sequence[Row]) -> None:
    """Accuracy over all questions, with its interval."""
    named: set[str] = set()
    for at, row in enumerate(rows):
        family, colour = _family(row.connector)
        score = row.scores["all"]
        panel.plot((score.low, score.high), (at, at), color=colour, alpha=0.35, linewidth=7,
                   solid_capstyle="round", zorder=2)  # fmt: skip
        panel.plot(score.value, at, "o", color=colour, markersize=7, zorder=3,
                   label=None if family in named else family)  # fmt: skip
        panel.annotate(f"{score.value:.0f}", (score.value, at), (0, 7), color=colour, fontsize=8,
                       textcoords="offset points", ha="center")  # fmt: skip
        named.add(family)
    panel.set_xlim(0, 102)
    panel.set_yticks(range(len(rows)), [row.connector for row in rows])
    for tick, row in zip(panel.get_yticklabels(), rows, strict=True):
        tick.set_color(_family(row.connector)[1])
        tick.set_fontweight("bold")
    panel.grid(axis="x", color="#e5e7eb")
    panel.set_axisbelow(True)
    panel.legend(frameon=False, fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, 0.0),
                 ncols=len(named), handletextpad=0.1, columnspacing=1)  # fmt: skip


def _types(panel: Any, rows: Sequence[Row], kinds: Sequence[str]) -> None:
    """Accuracy of each type of question, as a map."""
    values = [[row.scores[kind].value for kind in kinds] for row in rows]
    panel.imshow(values, cmap="YlGnBu", vmin=0, vmax=125, aspect="auto")
    for at, line in enumerate(values):
        panel.axhline(at - 0.5, color="white", linewidth=2)
        for place, value in enumerate(line):
            ink = "white" if value > 75 else INK
            panel.text(place, at, f"{value:.0f}", ha="center", va="center", color=ink)
    for place in range(len(kinds)):
        panel.axvline(place - 0.5, color="white", linewidth=2)
    panel.set_xticks(range(len(kinds)), [kind.replace("_", "\n") for kind in kinds])


def _costs(panel: Any, rows: Sequence[Row]) -> None:
    """What each costs, in columns of figures."""
    columns: tuple[tuple[str, Callable[[Row], str]], ...] = (
        ("visual\ntokens", lambda row: str(row.visual_tokens)),
        ("parameters", lambda row: f"{row.parameters:,}"),
        ("samples/s", lambda row: f"{row.samples_per_s:,.0f}" if row.samples_per_s else "-"),
        ("tokens/s", lambda row: f"{row.tokens_per_s:,.0f}" if row.tokens_per_s else "-"),
        ("peak\nGiB", lambda row: f"{row.peak_gib:.2f}"),
    )
    ends = (0.7, 2.0, 3.05, 4.1, 4.9)  # right ends of the columns
    panel.set_xlim(0, ends[-1])
    for end, (_, shown) in zip(ends, columns, strict=True):
        for at, row in enumerate(rows):
            panel.text(end, at, shown(row), ha="right", va="center")
    panel.set_xticks(ends, [name for name, _ in columns], ha="right")


def _family(connector: str) -> tuple[str, str]:
    """Kind and colour."""
    for family, (colour, members) in FAMILIES.items():
        if connector in members:
            return family, colour
    return "other", FAINT
