"""`llava_bench`: how good a model's words are beside a text-only teacher's, by a judge
(arXiv:2304.08485). COCO: 30 images x conv, detail, complex; In-the-Wild: 24 images, 60 questions.
"""

from __future__ import annotations

from collections.abc import Callable

from isthmus import hookimpl
from isthmus.plugins.benchmarks.llava_bench.benchmark import LlavaBench


@hookimpl
def register_benchmarks(register: Callable[[type], None]) -> None:
    register(LlavaBench)
