"""The report of a synthesis: what was kept and why the rest was not, what it cost, how varied it
is, and some samples to look at. As JSON, and as one HTML file that fetches and runs nothing."""

from __future__ import annotations

import json

from isthmus.core.chat import Journal
from isthmus.synthesize.dataset import Tally
from isthmus.synthesize.folder import PAGE, REPORT, written
from isthmus.synthesize.plan import Plan
from isthmus.synthesize.report.gathering import Report
from isthmus.synthesize.report.page import page

__all__ = ["Report", "write_report"]


def write_report(report: Report, tally: Tally, journal: Journal, plan: Plan) -> None:
    """Write both into the folder."""
    found = report.summary(tally, journal, plan)
    folder = report.config.out
    with written(folder / REPORT) as stream:
        stream.write(json.dumps(found, indent=2) + "\n")
    with written(folder / PAGE) as stream:
        stream.write(page(found, report.shown(), report.config.scenes.images))
