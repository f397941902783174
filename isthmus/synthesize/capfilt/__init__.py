"""CapFilt (Li et al. 2022, arXiv:2201.12086): better captions for pictures with noisy ones.

    outcome = capfilt(load(CapFiltConfig, "capfilt.yaml"))

A trained captioner writes a caption for every picture, a trained filter says of that one and of the
text that came with the picture whether they belong to it, and what passes is the dataset. The
journal holds what both said; the dataset is made from it, the same bytes however often the work was
interrupted or split.
"""

from isthmus.synthesize.capfilt.config import CapFiltConfig
from isthmus.synthesize.capfilt.run import capfilt

__all__ = ["CapFiltConfig", "capfilt"]
