"""Caption metrics against pycocoevalcap, another implementation, and by hand."""

from __future__ import annotations

import json
import math
import random
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pycocoevalcap
import pytest

from isthmus.errors import DataError, InputError
from isthmus.evaluate.scoring import Scores, open_runs, score
from isthmus.plugins.benchmarks.caption import Caption
from isthmus.plugins.benchmarks.caption.meteor import meteor, weighed
from isthmus.plugins.benchmarks.caption.metrics import CiderD, bleu, bleu_counts, rouge_l
from isthmus.plugins.benchmarks.caption.words import words_of
from isthmus.testing import check_benchmark
from tests.evaluate.toys import write_lines

Corpus = dict[int, tuple[list[str], list[list[str]]]]
"""Image -> words of the caption, and of its references."""


def made_up(seed: int = 0) -> Corpus:
    draw = random.Random(seed)
    words = ["a", "the", "red", "blue", "dog", "cat", "runs", "sits", "on", "table", "near"]

    def sentence(longest: int) -> list[str]:
        return [draw.choice(words) for _ in range(draw.randint(1, longest))]

    return {n: (sentence(14), [sentence(12) for _ in range(draw.randint(1, 5))]) for n in range(60)}


def real(data_folder: Path) -> Corpus:
    lines = (data_folder / "coco" / "captions_val2017.jsonl").read_text().splitlines()[:400]
    captions = [list(map(words_of, json.loads(line)["captions"])) for line in lines]
    return {number: (first, rest) for number, (first, *rest) in enumerate(captions)}


def others(corpus: Corpus) -> dict[str, float]:
    """What pycocoevalcap says of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge

        said = {image: [" ".join(words)] for image, (words, _) in corpus.items()}
        right = {image: list(map(" ".join, refs)) for image, (_, refs) in corpus.items()}
        blue = Bleu(4).compute_score(right, said, verbose=0)[0]
        cider = Cider().compute_score(right, said)[0]
        rouge = Rouge().compute_score(right, said)[0]
    found = {f"BLEU-{n}": 100 * value for n, value in enumerate(blue, 1)}
    return {"CIDEr-D": 100 * cider, **found, "ROUGE-L": 100 * rouge}


def ours(corpus: Corpus) -> dict[str, float]:
    cider = CiderD(refs for _, refs in corpus.values())
    totals: dict[str, float] = {}
    for words, refs in corpus.values():
        for name, count in bleu_counts(words, refs).items():
            totals[name] = totals.get(name, 0.0) + count
    share = 100 / len(corpus)
    return {
        "CIDEr-D": share * sum(cider(words, refs) for words, refs in corpus.values()),
        **{f"BLEU-{n}": 100 * value for n, value in enumerate(bleu(totals), 1)},
        "ROUGE-L": share * sum(rouge_l(words, refs) for words, refs in corpus.values()),
    }


@pytest.mark.parametrize("seed", range(3))
def test_made_up_captions_get_what_another_implementation_gives(seed: int) -> None:
    # It smooths BLEU a little, so that nothing is quite 0.
    assert ours(made_up(seed)) == pytest.approx(others(made_up(seed)), rel=1e-9, abs=1e-3)


def test_real_captions_get_what_another_implementation_gives(data_folder: Path) -> None:
    corpus = real(data_folder)
    assert ours(corpus) == pytest.approx(others(corpus), rel=1e-9)


def test_bleu_by_hand() -> None:
    words, refs = (
        ["a", "b", "c", "d", "e"],
        [["a", "b", "c", "x"], ["a", "q", "c", "d", "e", "y", "z"]],
    )
    counts = bleu_counts(words, refs)
    # All pairs are there; abc and cde of three; none of four. The nearest in length is shorter.
    assert [counts[f"match{n}"] for n in (1, 2, 3, 4)] == [5, 4, 2, 0]
    assert (counts["length"], counts["reference"]) == (5, 4)
    assert bleu(counts) == pytest.approx([1, 1, (2 / 3) ** (1 / 3), 0])
    short = bleu_counts(["a"], [["a", "b"]])
    assert bleu(short)[0] == pytest.approx(math.exp(1 - 2))


def test_rouge_by_hand() -> None:
    words, refs = ["a", "x", "b", "c"], [["a", "b", "c", "d", "e"], ["c"]]
    # Precision 3 of 4 by the first reference, recall 1 of 1 by the second.
    assert rouge_l(words, refs) == pytest.approx(2.44 * 0.75 / (1 + 1.44 * 0.75))
    assert rouge_l(["q"], refs) == rouge_l([], refs) == 0


def test_cider_by_hand() -> None:
    # Two images with a word of their own each: every gram weighs log 2.
    cider = CiderD([[["a"]], [["b"]]])
    assert cider(["a"], [["a"]]) == pytest.approx(10 / 4)
    assert cider(["b"], [["a"]]) == 0
    assert cider(["a", "a"], [["a"]]) == pytest.approx(10 / 4 * (1 / 2) * math.exp(-1 / 72))


def test_words_are_those_of_the_penn_treebank() -> None:
    cases = {
        "A man's dog doesn't sit.": "a man 's dog does n't sit",
        "Two well-known T-shirts, at 9:30!": "two well-known t-shirts at 9:30",
        "It cannot be 1,000 (or 1/2) -- no...": "it can not be 1,000 -lrb- or 1/2 -rrb- no",
        "Mr. Bean\u2019s \u201ccar\u201d": "mr. bean 's car",
        "In the U.S. at 5 o'clock.": "in the u.s. at 5 o'clock",
        "  ": "",
    }
    assert {text: " ".join(words_of(text)) for text in cases} == cases


def scored(data: Path, answers: Sequence[dict[str, Any]], **fields: Any) -> Scores:
    benchmark = Caption.Config(data=data, **fields).build()
    return score(benchmark, open_runs(benchmark, [write_lines(data.parent / "a.jsonl", answers)]))


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    told = [(1, "A red dog runs."), (1, "A dog is running."), (2, "The blue cat sits there.")]
    file = tmp_path / "captions_val2014.json"
    images = [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}]
    notes = [{"image_id": image, "caption": caption} for image, caption in told]
    file.write_text(json.dumps({"images": images, "annotations": notes}))
    return file


def test_files_of_coco_and_of_rows_are_the_same_benchmark(coco: Path, tmp_path: Path) -> None:
    answers = [{"image_id": 1, "caption": "a dog runs"}, {"image_id": 2, "caption": "a cat sits"}]
    rows = [
        {"id": 1, "image": "1.jpg", "captions": ["A red dog runs.", "A dog is running."]},
        {"id": 2, "image": "2.jpg", "captions": ["The blue cat sits there."]},
    ]
    found = scored(coco, answers)
    assert found.score == found.by["CIDEr-D"]
    assert found.by["BLEU-1"] == pytest.approx(100 * 5 / 6 * math.exp(1 - 9 / 6))
    assert scored(write_lines(tmp_path / "captions.jsonl", rows), answers) == found


def test_no_words_are_worth_nothing_and_are_listed(coco: Path) -> None:
    answers = [{"image_id": 1, "caption": "..."}, {"image_id": 2, "caption": ""}]
    found = scored(coco, answers)
    assert set(found.by.values()) == {0}
    assert found.invalid == (1, 2)


def test_annotations_that_are_none_are_named(coco: Path) -> None:
    coco.write_text('{"annotations": [{"caption": "x"}]}')
    with pytest.raises(DataError, match="not as COCO has its captions"):
        Caption.Config(data=coco).build().questions()


def test_meteor_says_what_it_lacks(coco: Path, tmp_path: Path, monkeypatch: Any) -> None:
    answers = [{"image_id": 1, "caption": "a"}, {"image_id": 2, "caption": "b"}]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="METEOR is a Java program"):
        scored(coco, answers, meteor=tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(InputError, match=r"has no meteor-1\.5\.jar"):
        scored(coco, answers, meteor=tmp_path)


METEOR_SAID = {
    "a dog runs over the green lawn": (
        ["the dog is running across the grass", "a puppy ran on a lawn"],
        [7, 6, 3, 3, *(1, 1, 1, 1), *(0,) * 4, *(1, 1, 0, 0), *(0,) * 4, 3, 3, 3],
        0.20562248995983934,
    ),
    "two children play with a ball": (
        ["kids playing with a ball in the park"],
        [6, 8, 3, 4, *(1, 1, 2, 2), *(1, 1, 0, 0), *(1, 1, 0, 0), *(0,) * 4, 1, 5, 5],
        0.3376114452272156,
    ),
    "a red bus stands at the corner of a street": (
        ["a red bus stands at the corner of a street"],
        [10, 10, 5, 5, *(5, 5, 5, 5), *(0,) * 12, 1, 10, 10],
        1.0,
    ),
    "nothing of the kind": (["a cat sleeps"], [4, 3, 2, 1, *(0,) * 19], 0.0),
}
"""Caption -> references, what METEOR 1.5 printed of it, and the score that it gave."""
METEOR_OF_ALL = 0.3598003925699784


def test_meteor_is_made_of_the_sums_as_its_own_program_makes_it() -> None:
    parts = [weighed(counts) for _, counts, _ in METEOR_SAID.values()]
    found = [meteor(part) for part in parts]
    assert found == pytest.approx([score for *_, score in METEOR_SAID.values()])
    whole = {name: sum(part[name] for part in parts) for name in parts[0]}
    assert meteor(whole) == pytest.approx(METEOR_OF_ALL)
    assert meteor(weighed([0] * 23)) == 0


@pytest.mark.slow
def test_meteors_own_program_is_asked(tmp_path: Path) -> None:
    if not shutil.which("java"):
        pytest.skip("METEOR needs java")
    folder = Path(next(iter(pycocoevalcap.__path__))) / "meteor"
    rows = [{"id": n, "captions": refs} for n, (refs, *_) in enumerate(METEOR_SAID.values())]
    answers = [{"id": n, "caption": caption} for n, caption in enumerate(METEOR_SAID)]
    found = scored(write_lines(tmp_path / "c.jsonl", rows), answers, meteor=folder)
    assert found.by["METEOR"] == pytest.approx(100 * METEOR_OF_ALL)


def test_it_keeps_the_contract(coco: Path) -> None:
    check_benchmark(Caption.Config(data=coco), ["A dog runs.", "something else"])
