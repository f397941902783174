"""Does an objective keep the further promises of `isthmus.core.contracts.matcher`?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from isthmus.core.contracts import Matcher, Sample, Tools
from isthmus.testing.promises import close, promise


@torch.no_grad()
def check_belonging(matcher: Matcher, model: Any, tools: Tools, samples: Sequence[Sample]) -> None:
    """One probability for each match, whatever else is in its batch; raises ContractBroken."""
    name = type(matcher).__qualname__
    preparer = matcher.preparer(tools)
    made = [preparer.prepare(sample) for sample in samples]
    found = matcher.belonging(model, preparer.collate(made))
    promise(
        found.shape == (len(made),) and found.dtype == torch.float32,
        f"{name}: `belonging` of {len(made)} matches is ({len(made)}) fp32, not {found!r}",
    )
    promise(
        bool(((found >= 0) & (found <= 1)).all()),
        f"{name}: `belonging` gives probabilities, from 0 to 1; not {found!r}",
    )
    alone = [matcher.belonging(model, preparer.collate([each])) for each in made]
    close(torch.cat(alone), found, f"{name}: `belonging` of matches alone, and of their batch")
