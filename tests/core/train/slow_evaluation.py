"""A run whose processes lose patience after three seconds, and whose evaluator takes two for every
batch of questions: `slow_evaluation.py RUN.yaml OUT`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from isthmus.core.config import load
from isthmus.core.contracts import EvaluateDue
from isthmus.core.train import parallel
from isthmus.core.train.config import RunConfig
from isthmus.core.train.run import run
from isthmus.evaluate.training import Evaluator


class Slow(Evaluator):
    def evaluate_due(self, event: EvaluateDue) -> Mapping[str, float] | None:
        def go_on() -> bool:
            time.sleep(2)
            return event.go_on()

        return super().evaluate_due(replace(event, go_on=go_on))


if __name__ == "__main__":
    parallel.PATIENCE = timedelta(seconds=3)
    run(load(RunConfig, sys.argv[1], [f"out={sys.argv[2]}"]), events=Slow())
