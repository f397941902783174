"""What CapFilt is told: pictures with noisy texts, who writes new ones, and who filters both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from isthmus.core.contracts import Config, DataPath, Place, Source
from isthmus.core.data.question_file import IMAGE


class CaptionerConfig(Config):
    """Who writes captions, and how."""

    model: DataPath
    """Folder of a run whose model answers, or of one of its checkpoints."""
    question: str | None = Field(default=None, min_length=1)
    """What it is asked; absent, what each sample's user asks."""
    temperature: float = Field(default=1.0, ge=0)
    """0 takes the likeliest token; above it, tokens are drawn: nucleus sampling, as in BLIP."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    """Draw from the fewest tokens that have this share of the probability between them."""
    max_new_tokens: int = Field(default=64, gt=0)
    """Tokens of a caption at most; one that is longer is rejected."""

    def check(self) -> Iterator[tuple[Place, str]]:
        if self.question is not None and IMAGE in self.question:
            yield ("question",), f"leave {IMAGE} out; the picture stands before the question"


class FilterConfig(Config):
    """Who says whether a text belongs to a picture."""

    model: DataPath
    """A checkpoint of a stage that learnt `itm`, or of another objective with a head that tells; or
    the folder of a run whose last stage did."""
    threshold: float = Field(default=0.5, ge=0, le=1)
    """Texts are kept from this probability on. BLIP's is 0.5."""


class CapFiltConfig(Config):
    """CapFilt, as its YAML has it."""

    data: tuple[Source.Config, ...] = Field(min_length=1)
    """Samples of one picture, one request and one answer, which is the noisy text."""
    images: DataPath
    """Folder that the dataset's image paths are relative to; all pictures lie in it."""
    captioner: CaptionerConfig
    """Who writes."""
    filter: FilterConfig
    """Who rejects."""
    batch_size: int = Field(default=16, ge=1)
    """Pictures at once. The last bits of a number may follow from it."""
    out: Path = Path("capfilt")
    """Folder of the journal, the samples and the report."""
    seed: int = Field(default=0, ge=0)
    """What draws follow from, with each sample's id, picture and text."""

    def check(self) -> Iterator[tuple[Place, str]]:
        for index, source in enumerate(self.data):
            if source.weight != 1:
                yield ("data", index, "weight"), "every sample is captioned once; leave it out"
