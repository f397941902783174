"""A recipe whose prompt lies in files: what most of them are.

    system.txt       who the teacher is and what it is to write
    examples.jsonl   worked examples: {captions, instances, turns: [{question, answer}]}
    questions.txt    one question a line, where the recipe and not the teacher asks

A recipe in a package of its own keeps its files beside its module, and a user's folder replaces
those that it has.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from isthmus.core.contracts import Exchange, Instance, Prompt, Recipe, Scene, Turn
from isthmus.core.scene.prompt_files import PromptFiles
from isthmus.core.scene.protocol import (
    FORMAT,
    SCHEMA,
    read_answer,
    read_exchanges,
    write_exchanges,
)
from isthmus.core.scene.telling import tell
from isthmus.errors import DataError, Rejected


class TaughtRecipe(Recipe):
    """Asks with `system.txt` and `examples.jsonl` of its module's folder.

    With a `questions.txt`, one of them is asked and the reply is its answer; without, the reply is
    questions with their answers, at most `most` of them.
    """

    most = 20

    @cached_property
    def files(self) -> PromptFiles:
        """The recipe's words."""
        own = Path(str(sys.modules[type(self).__module__].__file__)).parent
        return PromptFiles(own, self.config.prompts)

    @property
    def texts(self) -> Iterable[str]:
        return (*self.files.texts, FORMAT)

    @property
    def asks(self) -> bool:
        """Whether the recipe itself asks the question."""
        return "questions.txt" in self.files.paths

    def question(self, seed: int) -> str:
        """The one that it asks with this seed."""
        return random.Random(seed).choice(self.files.lines("questions.txt"))  # noqa: S311

    def prompt(self, scene: Scene, seed: int, *, structured: bool) -> Prompt:
        system = self.files.text("system.txt")
        if not self.asks and not structured:
            system = f"{system}\n\n{FORMAT}"
        told = self._told(scene, self.question(seed) if self.asks else "")
        turns = (Turn("system", (system,)), *self._shown[structured], Turn("user", (told,)))
        return Prompt(turns, None if self.asks else SCHEMA)

    def read(self, reply: str, scene: Scene, seed: int) -> Sequence[Exchange]:
        if self.asks:
            return (Exchange(self.question(seed), read_answer(reply)),)
        found = read_exchanges(reply)
        if len(found) > self.most:
            raise Rejected("too_long", f"{len(found)} questions; at most {self.most} are wanted")
        return found

    @cached_property
    def _examples(self) -> list[tuple[Scene, list[Exchange]]]:
        return [_example(row, origin) for row, origin in self.files.rows("examples.jsonl")]

    @cached_property
    def _shown(self) -> dict[bool, tuple[Turn, ...]]:
        """The examples as turns, for teachers that are `structured` and for others."""
        return {
            structured: tuple(
                turn
                for example, exchanges in self._examples
                for turn in (
                    Turn("user", (self._told(example, exchanges[0].question),)),
                    Turn("assistant", (self._reply(exchanges, structured),)),
                )
            )
            for structured in (True, False)
        }

    def _told(self, scene: Scene, question: str) -> str:
        return f"{tell(scene)}\n\nThe task: {question}" if self.asks else tell(scene)

    def _reply(self, exchanges: Sequence[Exchange], structured: bool) -> str:
        if self.asks:
            return exchanges[0].answer
        if structured:
            return write_exchanges(exchanges)
        return "\n\n".join(f"Question: {e.question}\nAnswer: {e.answer}" for e in exchanges)


def _example(row: dict[str, Any], origin: str) -> tuple[Scene, list[Exchange]]:
    try:
        instances = tuple(
            Instance(each["category"], tuple(each["bbox"]), bool(each.get("crowd")))
            for each in row.get("instances", ())
        )
        scene = Scene("example", "", tuple(row.get("captions", ())), instances)
        return scene, [Exchange(turn["question"], turn["answer"]) for turn in row["turns"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{origin}: an example is {{captions, instances: [{{category, bbox}}], turns: "
            f"[{{question, answer}}]}}; wrong is {error}"
        ) from None
