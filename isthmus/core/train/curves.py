"""A picture of a run: the loss of every stage, step by step, from its metrics file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isthmus.core.train.lines import read_lines, writing

Line = Mapping[str, Any]


def draw_curves(metrics: Path, picture: Path) -> None:
    """Draw `metrics.jsonl` into a PNG, one panel a stage: loss, its running mean, validation."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages: dict[str, list[dict[str, Any]]] = {}
    for line in read_lines(metrics):
        stages.setdefault(line["stage"], []).append(line)
    if not stages:
        return
    figure = Figure(figsize=(5.2 * len(stages), 3.8), layout="constrained", dpi=120)
    panels = figure.subplots(1, len(stages), squeeze=False)[0]
    for panel, (stage, lines) in zip(panels, stages.items(), strict=True):
        _draw_stage(panel, stage, lines)
    panels[0].set_ylabel("loss")
    # Under another name first, so that whoever looks never sees half a picture.
    partial = picture.with_suffix(".tmp")
    with writing(picture):
        FigureCanvasAgg(figure).print_png(str(partial))
        partial.replace(picture)


def _draw_stage(panel: Any, stage: str, lines: Sequence[Line]) -> None:
    steps, losses = _points(lines, "loss")
    panel.plot(steps, losses, color="#9ecae1", linewidth=0.8, label="each step")
    if len(steps) > 10:
        panel.plot(steps, smooth(losses), color="#08519c", linewidth=1.8, label="running mean")
    for key, color, marker, label in (
        ("val_loss", "#d95f0e", "o", "validation"),
        ("val_loss_shuffled", "#756bb1", "s", "validation, pictures shuffled"),
    ):
        at, values = _points(lines, key)
        if at:
            panel.plot(at, values, color=color, marker=marker, markersize=4, label=label)
    panel.set_title(stage)
    panel.set_xlabel("step")
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=8)


def smooth(values: Sequence[float], share: float = 0.02) -> list[float]:
    """Running mean whose memory is `share` of the curve, free of a pull towards its start."""
    decay = 1.0 - 1.0 / max(1.0, share * len(values))
    mean, weight, smoothed = 0.0, 0.0, []
    for value in values:
        mean = decay * mean + (1.0 - decay) * value
        weight = decay * weight + (1.0 - decay)
        smoothed.append(mean / weight)
    return smoothed


def _points(lines: Sequence[Line], key: str) -> tuple[list[int], list[float]]:
    found = [(line["step"], line[key]) for line in lines if key in line]
    return [step for step, _ in found], [value for _, value in found]
