"""The report is one file that stands alone, says what the scores say, and takes no orders from
what it shows."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from isthmus.cli import app
from isthmus.evaluate.merging import read_evaluations
from isthmus.evaluate.report.thumbnails import SIDE, thumbnail
from tests.evaluate.answered import write_evaluation
from tests.evaluate.toys import write_lines

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "<!--<script>",
    "half a character \ud83d and a nought \x00",
    "\u202eright to left, {{ 7 * 7 }} {% raise %} &lt;b&gt; ]]>",
    "long " * 20_000,
)


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the words inside scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script" and self.scripts[-1] == "":
            self.scripts[-1] = data
        else:
            self.words.append(data)


def evaluation(folder: Path, hostile: bool = False) -> Path:
    """Two models on six questions in three categories, one of them with hostile words in it."""
    rows: list[dict[str, Any]] = []
    for number, words in enumerate(HOSTILE):
        image = f"{number}.png"
        Image.new("RGB", (9, 9), (40 * number, 0, 0)).save(folder / image)
        text = words if hostile else f"What is in picture {number}?"
        label = f"{words[:30]}{number % 3}" if hostile else "abc"[number % 3]
        rows.append(
            {
                "question_id": text[:50] if hostile else number,
                "image": image,
                "text": text,
                "answer": text if hostile else "red",
                "category": label,
            }
        )
    data = write_lines(folder / "questions.jsonl", rows)
    ids = [row["question_id"] for row in rows]
    right = {id: row["answer"] for id, row in zip(ids, rows, strict=True)}
    given: dict[tuple[str, str, str], Any] = {
        ("one", "colours", ""): right,
        ("two", "colours", ""): {id: "red" if id == ids[0] else "blue" for id in ids},
        ("one", "colours", "-blank"): dict.fromkeys(ids, "blue"),
    }
    benchmark = {"colours": {"type": "exact_match", "data": str(data)}}
    write_evaluation(folder / "out", benchmark, given)
    return folder / "out"


def report(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def written(folder: Path, *more: Any) -> str:
    file = folder / "report.html"
    result = report(folder / "out", "--out", file, *more)
    assert result.exit_code == 0, result.stderr
    return file.read_text(encoding="utf-8")


def samples(page: str) -> dict[str, Any]:
    """The first benchmark as the page's script reads it."""
    found: dict[str, Any] = json.loads(Elements(page).scripts[0])["benchmarks"][0]
    return found


@pytest.mark.parametrize("hostile", [False, True])
def test_it_fetches_nothing_and_runs_one_script(tmp_path: Path, hostile: bool) -> None:
    evaluation(tmp_path, hostile)
    page = Elements(written(tmp_path))
    kinds = [attributes.get("type") for tag, attributes in page.found if tag == "script"]
    assert kinds == ["application/json", "application/json", None]
    tags = {tag for tag, _ in page.found}
    assert not tags & {"link", "img", "iframe", "object", "embed", "base", "b"}
    for tag, attributes in page.found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert attributes.get("href", "#").startswith("#"), tag
        assert "src" not in attributes
    (policy,) = (a["content"] for t, a in page.found if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_what_it_shows_is_what_was_written_to_the_letter(tmp_path: Path) -> None:
    evaluation(tmp_path, hostile=True)
    found = samples(written(tmp_path))
    *whole, long = [sample["question"] for sample in found["samples"]]
    assert whole == list(HOSTILE[:-1])
    assert long == HOSTILE[-1][:10_000] + " [... and 90000 more characters]"
    assert [sample["references"] for sample in found["samples"]][:5] == [[w] for w in HOSTILE[:-1]]
    assert [sample["answers"][0]["right"] for sample in found["samples"]] == [1] * 6


def test_numbers_are_those_of_the_scores(tmp_path: Path) -> None:
    out = evaluation(tmp_path)
    page = written(tmp_path, "--title", "Reds & blues")
    words = [text.strip() for text in Elements(page).words if text.strip()]
    assert words[0] == "Reds & blues"
    (section,) = read_evaluations([out]).sections
    scores = [entry.scores.score for entry in section.entries if entry.scores]
    assert scores == [100, pytest.approx(100 / 6)]
    assert {"100.0", "16.7", "grey pictures", "most frequent answer"} <= set(words)
    assert any("two scores 83.3 less than one" in text for text in words)
    found = samples(page)
    assert found["labels"] == ["a", "b", "c"]
    assert found["samples"][4]["labels"] == [1]
    assert found["samples"][4]["answers"][0]["controls"]["blank"]["text"] == "blue"


def test_a_report_is_made_without_torch(tmp_path: Path) -> None:
    evaluation(tmp_path)
    script = (
        "import sys; from pathlib import Path\n"
        "from isthmus.cli.report import report\n"
        f"report([Path({str(tmp_path / 'out')!r})], Path({str(tmp_path / 'x.html')!r}))\n"
        "print('torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert said.stdout.splitlines()[-1] == "False", said.stderr


def test_many_scores_stand_in_one_table(tmp_path: Path) -> None:
    row = {"question_id": 1, "text": "?", "answer": "a"}
    data = write_lines(tmp_path / "questions.jsonl", [row, {**row, "question_id": 2}])
    exam = {"type": "exact_match", "data": str(data)}
    given = {(f"model{n}", "ab"[n % 2], ""): {1: "a", 2: "b" * (n % 3)} for n in range(8)}
    write_evaluation(tmp_path / "out", {"a": exam, "b": exam}, given)
    page = Elements(written(tmp_path))
    assert [a for t, a in page.found if t == "article"] == []
    assert ("table", {"class": "overview"}) in page.found
    # Four models were asked the one benchmark, and four the other.
    assert page.words.count("-") == 8
    assert page.words.count("50.0") >= 8


def test_published_numbers_of_the_benchmark_stand_beside(tmp_path: Path) -> None:
    evaluation(tmp_path)
    row = {"benchmark": "exact_match", "model": "Theirs", "source": "A paper"}
    numbers = {"a": 31.4, "b": 41.5, "c": 92.6, "accuracy": 55.2}
    more = tmp_path / "more.yaml"
    more.write_text(json.dumps({"rows": [{**row, "by": numbers}]}))
    words = set(Elements(written(tmp_path, "--published", more)).words)
    assert {"Theirs", "31.4", "55.2", "Theirs: A paper. "} <= words
    assert "LLaVA-13B v0" not in words
    more.write_text(json.dumps({"rows": [row]}))
    result = report(tmp_path / "out", "--out", tmp_path / "x.html", "--published", more)
    assert result.exit_code == 2
    assert "rows[0].by" in result.stderr


def test_a_part_of_the_questions_and_unusual_settings_are_said(tmp_path: Path) -> None:
    out = evaluation(tmp_path)
    assert "exact_match, 6 questions</span>" in written(tmp_path)
    settings = out / "evaluation.yaml"
    text = settings.read_text()
    settings.write_text(text.replace("literal: false", "literal: true"))
    assert "exact_match, 6 questions, literal true</span>" in written(tmp_path)
    settings.write_text(text.replace("max_questions: null", "max_questions: 2"))
    result = report(out, "--out", tmp_path / "x.html")
    assert result.exit_code == 2
    assert "4 question ids unknown to the benchmark" in result.stderr


def test_the_same_answers_give_the_same_bytes(tmp_path: Path) -> None:
    evaluation(tmp_path)
    assert written(tmp_path) == written(tmp_path)


def test_fewer_samples_may_be_in_it_than_were_asked(tmp_path: Path) -> None:
    evaluation(tmp_path)
    found = samples(written(tmp_path, "--samples", "2"))
    assert (len(found["samples"]), found["total"]) == (2, 6)
    assert samples(written(tmp_path, "--samples", "0"))["samples"] == []


def decoded(uri: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_a_tiny_picture_is_kept_to_the_pixel_and_a_large_one_is_small(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(256, size=(32, 40, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "tiny.png")
    with decoded(thumbnail(tmp_path / "tiny.png")) as picture:
        assert np.array_equal(np.asarray(picture), values)
    # A photo's top is blue and its bottom red, and so are its thumbnail's.
    photo = Image.new("RGB", (1200, 900), "blue")
    photo.paste("red", (0, 450, 1200, 900))
    photo.save(tmp_path / "photo.jpg")
    with decoded(thumbnail(tmp_path / "photo.jpg")) as picture:
        small = picture.convert("RGB")
    assert small.size == (SIDE, SIDE * 900 // 1200)
    assert small.getpixel((100, 20))[2] > 200 > 60 > small.getpixel((100, 20))[0]  # type: ignore[index]
    assert small.getpixel((100, 150))[0] > 200  # type: ignore[index]
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes()[:500])
    assert thumbnail(tmp_path / "broken.jpg") == ""


def test_a_picture_that_is_gone_is_none_and_one_outside_is_not_taken(tmp_path: Path) -> None:
    evaluation(tmp_path)
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").unlink()
    (tmp_path / "1.png").symlink_to("/etc/hostname")
    found = samples(written(tmp_path))
    assert [sample["pictures"] for sample in found["samples"]] == [
        [None],
        [None],
        [0],
        [1],
        [2],
        [3],
    ]


def test_a_report_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    evaluation(tmp_path)
    result = report(tmp_path / "out", "--out", tmp_path / "out" / "evaluation.yaml" / "x.html")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    for folder in (".", tmp_path):
        result = report(tmp_path / "out", "--out", folder)
        assert result.exit_code == 1
        assert "cannot be written" in result.stderr
    assert not [*Path().glob(".tmp"), *tmp_path.parent.glob("*.tmp")]


def test_answers_that_wait_for_a_judge_can_be_looked_at(tmp_path: Path) -> None:
    rows = {"v1_0": {"question": "What?", "answer": "red", "imagename": "0.png"}}
    (tmp_path / "mm-vet.json").write_text(json.dumps(rows))
    benchmark = {"exam": {"type": "mm_vet", "data": str(tmp_path / "mm-vet.json")}}
    config = write_evaluation(tmp_path / "out", benchmark, {("one", "exam", ""): {"v1_0": "blue"}})
    page = written(tmp_path)
    assert "one: no judge has read the answers yet, so there is no score." in page
    assert not {"figure", "table"} & {tag for tag, _ in Elements(page).found}
    (sample,) = samples(page)["samples"]
    assert sample["answers"] == [{"text": "blue", "runs": [], "controls": {}}]

    review = {"question_id": "v1_0", "answer_id": "one-v1_0", "content": "0.4"}
    write_lines(config.out / "one" / "exam" / "reviews.jsonl", [review])
    (sample,) = samples(written(tmp_path))["samples"]
    (answer,) = sample["answers"]
    assert (answer["text"], answer["judge"], answer["value"]) == ("blue", "0.4", 40)
