"""Instruction data from captions and boxes: scenes x recipes, asked of a teacher, kept if good.

    config = load(SynthesisConfig, "synthesize.yaml")
    outcome = synthesize(config)

The journal holds what the teacher said; the dataset is made from it anew whenever that is asked
for, and is the same bytes however often the asking was interrupted.
"""

from isthmus.synthesize.config import SynthesisConfig
from isthmus.synthesize.plan import Shard
from isthmus.synthesize.run import derive, synthesize

__all__ = ["Shard", "SynthesisConfig", "derive", "synthesize"]
