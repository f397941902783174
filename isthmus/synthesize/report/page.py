"""The report as one HTML file. Every word from outside is escaped; no script, no address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from isthmus.core.chat import whole
from isthmus.synthesize.dataset import Made
from isthmus.synthesize.report.pictures import drawn

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem;
       color: #111827; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .5rem 0; } td, th { padding: .15rem .8rem;
       text-align: left; border-bottom: 1px solid #e5e7eb; } td.n { text-align: right; }
.bar { background: #2563eb; height: .7rem; border-radius: .2rem; } .quiet { color: #6b7280; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: 1rem; }
.card { border: 1px solid #e5e7eb; border-radius: .5rem; padding: .8rem; overflow-wrap: anywhere; }
.columns { display: grid; gap: 1.5rem;
       grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); }
.q { font-weight: 600; } .a { margin: 0 0 .5rem; white-space: pre-wrap; } svg { max-width: 100%; }
"""


def page(found: Mapping[str, Any], shown: Sequence[Made], images: Path | None) -> str:
    """The whole file."""
    spend = found["spend"]
    head = (
        f"{found['samples']:,} samples of {found['images']:,} images; {found['rejected']:,} "
        f"rejected. {spend['prompt_tokens'] + spend['completion_tokens']:,} tokens in "
        f"{spend['calls']:,} calls, {spend['cost']:.4f} US dollars."
    )
    parts = [
        f"<h1>Instruction data</h1><p>{escape(head)}</p>",
        "<h2>What was kept, and what was not</h2>",
        _recipes(found),
        _reasons(found),
        _bars("Flags", found["flags"]) if found["flags"] else "",
        "<h2>Who wrote it</h2>",
        _table(
            ("asked for", "called itself", "replies"),
            ((t["asked"], t["returned"], t["replies"]) for t in found["teachers"]),
        ),
        "<h2>How varied it is</h2><div class=columns>",
        _bars("Questions open with", found["questions_open_with"]),
        _bars("First verbs", found["first_verbs"]),
        *(_bars(f"Turns: {kind}", counts) for kind, counts in found["turns"].items()),
        *(_bars(f"Words of questions: {k}", c) for k, c in found["question_words"].items()),
        *(_bars(f"Words of answers: {k}", c) for k, c in found["answer_words"].items()),
        "</div><h2>Objects</h2>",
        _table(
            ("object", "scenes that have it", "samples that name it"),
            ((n, o["scenes"], o["samples"]) for n, o in list(found["objects"].items())[:100]),
        ),
        f"<h2>{len(shown)} samples, drawn at random</h2><div class=cards>",
        *(_card(made, images) for made in shown),
        "</div>",
    ]
    body = "\n".join(filter(None, parts))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>Instruction data</title><style>{STYLE}</style></head>\n"
        f"<body>{body}</body></html>\n"
    )


def _recipes(found: Mapping[str, Any]) -> str:
    rows = []
    for kind, asked in found["asked"].items():
        kept = found["kept_by_recipe"].get(kind, 0)
        lost = sum(found["rejected_by_recipe"].get(kind, {}).values())
        rows.append((kind, asked, kept, lost))
    return _table(("recipe", "planned", "kept", "rejected"), rows)


def _reasons(found: Mapping[str, Any]) -> str:
    rows = ((r, c["count"], c["means"]) for r, c in found["rejected_by_reason"].items())
    return _table(("rejected as", "count", "which means"), rows) if found["rejected"] else ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"<td class=n>{value:,}</td>"
    return f"<td>{escape(whole(str(value)))}</td>"


def _bars(title: str, counts: Mapping[str, int]) -> str:
    most = max(counts.values(), default=1)
    rows = "".join(
        f"<tr><td>{escape(str(name))}</td><td class=n>{count:,}</td>"
        f'<td><div class=bar style="width:{8 * count / most:.2f}rem"></div></td></tr>'
        for name, count in counts.items()
    )
    return f"<div><b>{escape(title)}</b><table>{rows}</table></div>"


def _card(made: Made, images: Path | None) -> str:
    row = made.row or {"conversations": []}
    scene = made.job.scene
    said = "".join(
        f"<p class={'q' if turn['from'] == 'human' else 'a'}>{escape(turn['value'])}</p>"
        for turn in row["conversations"]
    )
    captions = "".join(f"<li>{escape(whole(caption[:600]))}</li>" for caption in scene.captions)
    return (
        f"<div class=card>{drawn(scene, images)}"
        f"<p class=quiet>{escape(whole(made.job.id))}</p>{said}"
        f"<details><summary>captions</summary><ul>{captions}</ul></details></div>"
    )
