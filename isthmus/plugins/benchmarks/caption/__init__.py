"""`caption`: a caption beside those of people, as COCO's evaluation does it (arXiv:1504.00325)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from isthmus import hookimpl
from isthmus.core.contracts import Benchmark, DataPath, Id, Outcome, Question, Totals, percent
from isthmus.core.data.rows import one_file, read_json
from isthmus.errors import DataError
from isthmus.plugins.benchmarks.caption.meteor import Meteor, meteor
from isthmus.plugins.benchmarks.caption.metrics import CiderD, bleu, bleu_counts, rouge_l
from isthmus.plugins.benchmarks.caption.words import words_of


class Caption(Benchmark, name="caption"):
    """CIDEr-D, BLEU-1 to 4, ROUGE-L and, with its program, METEOR; all times 100."""

    id_fields = ("image_id", "question_id", "id", "image")
    reply_fields = ("caption", "text")

    class Config(Benchmark.Config):
        """Settings of `caption`."""

        data: DataPath
        """The right captions: COCO's `captions_*.json`, or rows {id, image, captions}; a file,
        or its folder."""
        images: DataPath | None = None
        """Folder of the images; absent, that of the captions."""
        prompt: str = "Describe the picture in one short sentence."
        """What a model is asked."""
        meteor: DataPath | None = None
        """Folder of METEOR 1.5, `meteor-1.5.jar` and `data/`; absent, METEOR is not reported."""

    config: Config

    @property
    def image_folder(self) -> Path:
        data = self.config.data
        return self.config.images or (data.parent if data.is_file() else data)

    def questions(self) -> Sequence[Question]:
        return self._questions

    @cached_property
    def _questions(self) -> list[Question]:
        file = one_file(self.config.data, "captions*.json*", what="the right captions")
        try:
            found = list(_entries(read_json(file)))
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{file}: not as COCO has its captions ({error!r})") from None
        if lacking := [id for id, _, captions in found if not captions]:
            raise DataError(f"{file}: image {lacking[0]} has no caption")
        return [
            Question(
                id=id,
                prompt=self.config.prompt,
                images=(image,),
                references=tuple(captions),
                cluster=image,
            )
            for id, image, captions in found
        ]

    @cached_property
    def _cider(self) -> CiderD:
        return CiderD(map(_words, self._questions))

    @cached_property
    def _meteor(self) -> Meteor | None:
        return Meteor(self.config.meteor) if self.config.meteor else None

    def outcome(self, question: Question, reply: str) -> Outcome:
        words, references = words_of(reply), _words(question)
        counts = bleu_counts(words, references)
        counts["rouge"] = rouge_l(words, references)
        counts["cider"] = self._cider(words, references)
        if self._meteor:
            counts |= self._meteor.counts(words, references)
        return Outcome(counts, " ".join(words) or None)

    def measures(self, totals: Totals) -> dict[str, float]:
        found = {
            "CIDEr-D": percent(totals["cider"], totals["questions"]),
            **{f"BLEU-{n}": 100 * value for n, value in enumerate(bleu(totals), 1)},
            "ROUGE-L": percent(totals["rouge"], totals["questions"]),
        }
        return {**found, "METEOR": 100 * meteor(totals)} if self.config.meteor else found


def _words(question: Question) -> list[list[str]]:
    return [words_of(reference) for reference in question.references]


def _entries(found: Any) -> Iterator[tuple[Id, str, list[str]]]:
    """Id, file and right captions of every image."""
    if isinstance(found, list):
        for row, _ in found:
            image = row.get("image", row.get("file_name", ""))
            yield row.get("id", row.get("image_id", image)), image, _told(row)
        return
    captions: dict[Id, list[str]] = {}
    for row in found["annotations"]:
        captions.setdefault(row["image_id"], []).append(row["caption"])
    files = {image["id"]: image["file_name"] for image in found.get("images", ())}
    for id, told in captions.items():
        yield id, files.get(id, ""), told


def _told(row: Mapping[str, Any]) -> list[str]:
    told = row["captions"] if "captions" in row else [row["caption"]]
    return [str(caption) for caption in told]


@hookimpl
def register_benchmarks(register: Callable[[type], None]) -> None:
    register(Caption)
