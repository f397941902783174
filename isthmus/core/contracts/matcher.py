"""An objective whose head says whether a picture and a text belong together.

Learning to say so is what it is for in training; a trained one is a filter of captions (CapFilt, Li
et al. 2022, arXiv:2201.12086) and judges a retrieval's first finds anew.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from isthmus.core.contracts.objective import Objective


class Matcher(Objective, ABC):
    """An objective that tells pictures and texts which belong together from those which do not."""

    @abstractmethod
    def belonging(self, model: Any, batch: Any) -> Tensor:
        """(matches) fp32, of a batch of its preparer: the probability that the picture and the text
        of each match belong together. One match has no influence on another's."""
