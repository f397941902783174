"""A scene told to a teacher that sees no picture: captions and boxes, as text.

Every caption is a JSON string on a line of its own, so nothing that it says can end it, begin
another turn or pass for what surrounds it.
"""

from __future__ import annotations

import json

from isthmus.core.contracts import Scene

LONGEST = 600
"""Characters of a caption that are told."""
MOST_BOXES = 60
MOST_CAPTIONS = 10


def tell(scene: Scene) -> str:
    """Captions, then boxes in the order of the annotation; what there is too much of is cut."""
    lines: list[str] = []
    if scene.captions:
        lines += ["Sentences by people who saw the picture:"]
        lines += [f"- {_quoted(caption)}" for caption in scene.captions[:MOST_CAPTIONS]]
    if scene.instances:
        lines += ["", "Objects, each with left, top, right, bottom:"]
        lines += [
            f"- {_quoted(each.category)}{' (a group, not counted)' if each.crowd else ''}: "
            + " ".join(f"{edge:.3f}" for edge in each.box)
            for each in scene.instances[:MOST_BOXES]
        ]
        if (left_out := len(scene.instances) - MOST_BOXES) > 0:
            lines += [f"- and {left_out} more objects"]
    return "\n".join(lines).strip()


def _quoted(text: str) -> str:
    """In quotes, on one line. Half characters and controls are escaped; `<` too, so that no
    special token of any model is in it."""
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
    if not shown.isprintable():
        shown = "".join(mark if mark.isprintable() else " " for mark in shown)
    return json.dumps(shown, ensure_ascii=False).replace("<", "\\u003c").replace("|", "\\u007c")
