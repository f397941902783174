"""The report: one HTML file that stands alone, with the samples behind the numbers.

Python computes what is shown, `page.html` writes it out (escaped by jinja2), `browser.js` shows
the samples. Pictures are inside the file, as thumbnails: a report is sent to somebody as one
file, and a browser that opens it from a disk may not fetch others anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.evaluate.folder import write_bytes
from isthmus.evaluate.published import Row, published
from isthmus.evaluate.report.page import render
from isthmus.evaluate.report.samples import SAMPLES
from isthmus.evaluate.results import Section

__all__ = ["SAMPLES", "write_report"]


def write_report(
    sections: Sequence[Section],
    file: Path,
    *,
    title: str = "",
    rows: Sequence[Row] | None = None,
    samples: int = SAMPLES,
) -> Path:
    """Write the report of these benchmarks; returns its file.

    `rows` are published numbers to set beside, by default those that come with isthmus. Of a
    benchmark with more than `samples` questions so many can be looked at. Raises WorkError.
    """
    rows = published() if rows is None else rows
    page = render(sections, title or "Evaluation", rows, samples)
    # Half a character, which JSON may hold, is no UTF-8.
    write_bytes(file, page.encode("utf-8", "replace"))
    return file
