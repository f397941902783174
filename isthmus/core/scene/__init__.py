"""Scenes in words: what recipes, teachers and checks of samples need to know of annotation.

Knows the contracts, and no file format, recipe or teacher.
"""

from isthmus.core.scene.balance import balanced
from isthmus.core.scene.nouns import Noun, noun_of, spelt
from isthmus.core.scene.objects import COCO, object_words, objects_in
from isthmus.core.scene.phrases import noun_phrases
from isthmus.core.scene.prompt_files import PromptFiles
from isthmus.core.scene.protocol import (
    FORMAT,
    SCHEMA,
    read_answer,
    read_exchanges,
    write_exchanges,
)
from isthmus.core.scene.suspicions import suspicions
from isthmus.core.scene.taught import TaughtRecipe
from isthmus.core.scene.telling import tell

__all__ = [
    "COCO",
    "FORMAT",
    "SCHEMA",
    "Noun",
    "PromptFiles",
    "TaughtRecipe",
    "balanced",
    "noun_of",
    "noun_phrases",
    "object_words",
    "objects_in",
    "read_answer",
    "read_exchanges",
    "spelt",
    "suspicions",
    "tell",
    "write_exchanges",
]
