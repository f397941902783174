"""`chair`: objects in a caption that are not in the picture (Rohrbach et al. 2018,
arXiv:1809.02156)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from isthmus import hookimpl
from isthmus.core.contracts import Benchmark, DataPath, Id, Outcome, Question, Totals, percent
from isthmus.core.data.rows import one_file, read_json, read_object, read_text
from isthmus.errors import DataError


class Chair(Benchmark, name="chair"):
    """Percent of named objects that are not there (CHAIRi), and of captions that name one.

    Less is better. Every mention counts."""

    id_fields = ("image_id", "question_id", "id", "image")
    reply_fields = ("caption", "text")

    class Config(Benchmark.Config):
        """Settings of `chair`."""

        data: DataPath
        """COCO's `instances_*.json`, with `captions_*.json` beside it where there is one; or
        rows {id, image, instances: [{category}], captions}: a file, or its folder. What a right
        caption names is there, too."""
        synonyms: DataPath | None = None
        """CHAIR's own `synonyms.txt`, for numbers to set beside published ones; absent, the
        list that isthmus has."""
        images: DataPath | None = None
        """Folder of the images; absent, that of the annotation."""
        prompt: str = "Describe this picture in detail."
        """What a model is asked."""

    config: Config

    @property
    def image_folder(self) -> Path:
        data = self.config.data
        return self.config.images or (data.parent if data.is_file() else data)

    @cached_property
    def words(self) -> dict[str, str]:
        file = self.config.synonyms
        from isthmus.core.scene.objects import object_words

        return object_words(read_text(file) if file else "")

    def questions(self) -> Sequence[Question]:
        file = one_file(self.config.data, "instances*.json*", what="the objects of the images")
        try:
            found = read_json(file)
            there = self._rows(found) if isinstance(found, list) else self._coco(found, file)
            return [
                Question(
                    id=id,
                    prompt=self.config.prompt,
                    images=(image,) if image else (),
                    references=tuple(sorted(objects)),
                    cluster=image,
                )
                for id, image, objects in there
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{file}: not as COCO has its objects ({error!r})") from None

    def outcome(self, question: Question, reply: str) -> Outcome:
        named = _objects_in(reply, self.words)
        wrong = [name for name in named if name not in question.references]
        counts = {"named": len(named), "wrong": len(wrong), "captions": bool(wrong)}
        read = ", ".join(dict.fromkeys(named)) if reply.strip() else None
        return Outcome({name: float(count) for name, count in counts.items()}, read)

    def measures(self, totals: Totals) -> dict[str, float]:
        return {
            "CHAIRi": percent(totals["wrong"], totals["named"]),
            "CHAIRs": percent(totals["captions"], totals["questions"]),
        }

    def _rows(self, rows: Any) -> Iterator[tuple[Id, str, set[str]]]:
        for row, _ in rows:
            objects = {self._object(each["category"]) for each in row.get("instances", ())}
            told = " . ".join(row.get("captions", ()))
            id = row.get("id", row.get("image_id", row.get("image")))
            yield id, row.get("image", ""), objects | set(_objects_in(told, self.words))

    def _coco(self, found: Any, file: Path) -> Iterator[tuple[Id, str, set[str]]]:
        """What COCO's own files say is there."""
        names = {each["id"]: self._object(each["name"]) for each in found["categories"]}
        there: dict[Id, set[str]] = {image["id"]: set() for image in found["images"]}
        for each in found["annotations"]:
            there[each["image_id"]].add(names[each["category_id"]])
        captions = file.with_name(file.name.replace("instances", "captions"))
        if captions != file and captions.exists():
            for each in read_object(captions)["annotations"]:
                there[each["image_id"]] |= set(_objects_in(each["caption"], self.words))
        for image in found["images"]:
            yield image["id"], image.get("file_name", ""), there[image["id"]]

    def _object(self, category: str) -> str:
        """The object of a category's name, as the list of words has it."""
        return self.words.get(category, category)


def _objects_in(text: str, words: Any) -> list[str]:
    from isthmus.core.scene.objects import objects_in  # it opens Pillow, which scoring does without

    return objects_in(text, words)


@hookimpl
def register_benchmarks(register: Callable[[type], None]) -> None:
    register(Chair)
