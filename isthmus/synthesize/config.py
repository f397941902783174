"""What a synthesis is made of: scenes, a teacher, recipes, and what samples have to be like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo

from isthmus.core.chat import AskConfig
from isthmus.core.contracts import ChatModel, ChatParameters, Config, DataPath, Place, Recipe

MIX: Any = (
    {"type": "conversation", "weight": 59},
    {"type": "detail", "weight": 23},
    {"type": "reasoning", "weight": 77},
)
"""The shares of LLaVA's 158K (arXiv:2304.08485)."""


def _folder_or_name(value: Any, info: ValidationInfo) -> Any:
    """A folder as paths are, absolute; what is none stays as it is."""
    if not isinstance(value, str):
        return value
    place = Path((info.context or {}).get("folder", "."), Path(value).expanduser()).absolute()
    return str(place) if place.is_dir() else value


FolderOrName = Annotated[str, BeforeValidator(_folder_or_name)]


class ColumnsConfig(Config):
    """Names of columns, or of keys, in a file that has others than ours."""

    id: str = "id"
    """What names the scene; where there is none, its image does."""
    image: str = "image"
    """File of the picture, relative to the folder of images."""
    captions: str = "captions"
    """A list of sentences, or one."""
    instances: str = "instances"
    """A list of {category, bbox} and perhaps `crowd`."""
    width: str = "width"
    """Of the picture in pixels; needed for boxes in pixels."""
    height: str = "height"
    """Of the picture in pixels; needed for boxes in pixels."""


class ScenesConfig(Config):
    """Where the annotation is."""

    path: DataPath | None = None
    """COCO's `captions_*.json` or `instances_*.json` (the other of its name is read, too), a folder
    that has them, or JSON lines or CSV with one scene a row."""
    dataset: FolderOrName | None = None
    """Instead of `path`, a dataset of Hugging Face's library: a folder of Parquet or of what
    `save_to_disk` wrote, or a name on the hub."""
    split: str = "train"
    """Of the dataset."""
    images: DataPath | None = None
    """Folder of the pictures, if they are at hand: for the report, and to check their sizes."""
    columns: ColumnsConfig = ColumnsConfig()
    """Names that a file of rows has for things."""
    boxes: Literal["shares", "pixels", "pixels_width_height"] = "shares"
    """What a row's four numbers are: left, top, right, bottom in 0-1 or in pixels, or left, top,
    width, height in pixels."""
    vocabulary: tuple[str, ...] | None = None
    """Categories that the annotators looked for; absent, COCO's 80 where the file has no other,
    else all that the file has."""
    limit: int | None = Field(default=None, ge=1)
    """Read only the first so many scenes."""

    def check(self) -> Iterator[tuple[Place, str]]:
        if self.path is None and self.dataset is None:
            yield ("path",), "name a file of scenes, or a `dataset`"
        elif self.path is not None and self.dataset is not None:
            yield ("dataset",), "scenes are from a `path` or from a `dataset`; leave one out"


class QualityConfig(Config):
    """What a sample must be like. What is not is rejected, and counted under its reason."""

    grounding: Literal["reject", "flag", "off"] = "reject"
    """What to do with an answer that names objects or numbers which the annotation has not."""
    longest_answer: int = Field(default=500, ge=1)
    """Words of one answer at most."""
    language: Literal["english", "any"] = "english"
    """Of the answers."""
    near_duplicates: float | None = Field(default=0.9, gt=0, le=1)
    """Share of five-word runs from which two samples of a recipe are near duplicates, of which the
    first is kept; null keeps all but exact ones."""
    evaluation: tuple[DataPath, ...] = ()
    """Files of benchmarks whose images and questions must not be learnt: JSON or JSON lines with
    `image`, `text`, `question` or `prompt`, or text with an image a line."""
    suspicious: Literal["flag", "reject"] = "flag"
    """What to do with samples of scenes whose captions hold orders, marks of turns or markup."""


class SynthesisConfig(Config):
    """A synthesis, as its YAML has it."""

    scenes: ScenesConfig
    """What the teacher is told about."""
    teacher: ChatModel.Config
    """Who writes: `openai`, `transformers`, `isthmus`, `replay`, or `symbolic`, which needs no
    network and never errs."""
    recipes: tuple[Recipe.Config, ...] = Field(default=MIX, min_length=1)
    """What is written, in which shares."""
    samples: int | None = Field(default=None, ge=1)
    """How many to ask for; absent, the recipe of most weight gets every scene once, and the others
    as many as their weights say."""
    parameters: ChatParameters = ChatParameters(temperature=0.7, max_tokens=1024)
    """How replies are drawn."""
    ask: AskConfig = AskConfig()
    """How the teacher is asked: concurrency, patience, caps on cost and tokens."""
    quality: QualityConfig = QualityConfig()
    """What samples have to be like."""
    out: Path = Path("synthesis")
    """Folder of the journal, the samples and the report."""
    seed: int = Field(default=0, ge=0)
    """Of all that is drawn here: scenes, questions, the order of things."""

    def check(self) -> Iterator[tuple[Place, str]]:
        names = [recipe.owner.name for recipe in self.recipes]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield ("recipes", index), f"the recipe {name!r} is listed twice; give it one weight"
        if self.parameters.json_schema is not None:
            yield ("parameters", "json_schema"), "a recipe's own schema is used; leave it out"
