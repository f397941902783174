"""The report in a real browser: quick with 5,000 samples, quiet, readable, and every control of
it does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from isthmus.evaluate.report.thumbnails import thumbnail
from tests.chromium import Page, browsing, chromium
from tests.evaluate.answered import write_evaluation
from tests.evaluate.test_report import HOSTILE, evaluation, written
from tests.evaluate.toys import write_lines

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="no chromium on this machine: apt-get install chromium"
)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browsing() as made:
        yield made


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two models on 5,000 questions, each with a picture of its own."""
    folder = tmp_path_factory.mktemp("many")
    draw = np.random.default_rng(0)
    low = Image.fromarray(draw.integers(256, size=(12, 16, 3), dtype=np.uint8))
    low.resize((224, 168), Image.Resampling.BICUBIC).save(folder / "photo.jpg", quality=90)
    photo = (folder / "photo.jpg").read_bytes()
    assert 4_000 < len(photo) < 12_000
    rows: list[dict[str, Any]] = []
    for number in range(5000):
        (folder / f"{number}.jpg").hardlink_to(folder / "photo.jpg")
        text = f"What is to be seen in picture {number}, and what is it doing there?"
        label = ("what", "why", "where")[number % 3]
        row = {"question_id": number, "image": f"{number}.jpg", "text": text, "answer": "a cat"}
        rows.append({**row, "category": label})
    data = write_lines(folder / "questions.jsonl", rows)
    benchmark = {"cats": {"type": "exact_match", "data": str(data)}}
    words = "It is a dog that sleeps on the sofa in the sun, next to a cushion."
    given: dict[tuple[str, str, str], Any] = {
        ("one", "cats", ""): {n: words if n % 5 == 0 else "a cat" for n in range(5000)},
        ("two", "cats", ""): {n: "A cat." if n % 2 else words for n in range(5000)},
        ("one", "cats", "-blank"): {n: "a cat" if n % 4 == 0 else words for n in range(5000)},
    }
    write_evaluation(folder / "out", benchmark, given)
    with pytest.MonkeyPatch.context() as patch:
        # All of these pictures are equal, so that making 5,000 thumbnails can be spared here.
        same = thumbnail(folder / "0.jpg")
        patch.setattr("isthmus.evaluate.report.thumbnails.thumbnail", lambda file: same)
        written(folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    evaluation(folder)
    written(folder)
    return folder / "report.html"


def milliseconds(page: Page, name: str) -> float:
    return float(page.run(f"performance.getEntriesByName('{name}')[0].startTime"))


def choose(page: Page, field: str, value: str) -> str:
    """Set a field of the filter, by what the option is called; returns the count's words."""
    page.run(
        f"""(() => {{
          const field = document.querySelector('#filter [name={field}]');
          const option = [...field.options].find((each) => each.text === {value!r});
          field.value = option.value;
          field.dispatchEvent(new Event('change', {{bubbles: true}}));
        }})()"""
    )
    return count(page)


def count(page: Page) -> str:
    return str(page.run("document.getElementById('count').textContent"))


def test_5000_samples_are_shown_within_two_seconds(page: Page, many: Path, tmp_path: Path) -> None:
    assert many.stat().st_size > 25_000_000
    page.look(1280, 900)
    page.open(many)
    painted = milliseconds(page, "first-contentful-paint")
    shown = milliseconds(page, "samples-shown")
    print(
        f"{many.stat().st_size / 1e6:.0f} MB: painted at {painted:.0f} ms, samples {shown:.0f} ms"
    )
    assert painted < 2000
    assert shown < 2000
    assert count(page) == "5,000 of 5,000 samples"
    assert page.run("document.querySelectorAll('.card').length") == 24
    # Pictures of the first page alone were read.
    loaded = page.run(
        """Promise.all([...document.images].map((image) => image.decode()))
           .then(() => [...document.images].filter((image) => image.naturalWidth === 224).length)"""
    )
    assert loaded == 24
    with Image.open(page.screenshot(tmp_path / "report.png")) as picture:
        colours = picture.convert("RGB").getcolors(1 << 24)
    assert picture.size == (1280, 900)
    assert len(colours) > 100  # type: ignore[arg-type]
    assert max(times for times, _ in colours) < 0.97 * 1280 * 900  # type: ignore[union-attr]


def test_it_is_quiet_and_asks_nobody_for_anything(page: Page, many: Path, small: Path) -> None:
    page.complaints.clear()
    page.requests.clear()
    for file in (many, small):
        page.open(file)
        choose(page, "show", "Right")
        page.run("document.querySelector('.card').click()")
    assert page.complaints == []
    asked = [url for url in page.requests if not url.startswith("data:image/")]
    assert [url.rpartition("/")[2] for url in asked] == ["report.html", "report.html"]


def test_filters_find_what_they_name(page: Page, many: Path) -> None:
    page.open(many)
    numbers = range(5000)
    assert choose(page, "show", "Right") == "4,000 of 5,000 samples"
    assert choose(page, "model", "two") == "2,500 of 5,000 samples"
    both = sum((n % 5 != 0) != (n % 2 == 1) for n in numbers)
    assert choose(page, "show", "Models disagree") == f"{both:,} of 5,000 samples"
    choose(page, "model", "one")
    blind = sum(n % 5 != 0 and n % 4 == 0 for n in numbers)
    assert choose(page, "show", "Right without looking") == f"{blind:,} of 5,000 samples"
    seen = sum(n % 5 != 0 and n % 4 != 0 for n in numbers)
    assert choose(page, "show", "Right only with the picture") == f"{seen:,} of 5,000 samples"
    choose(page, "show", "Not right")
    wrong = sum(n % 5 == 0 and n % 3 == 1 for n in numbers)
    assert choose(page, "label", "why") == f"{wrong:,} of 5,000 samples"
    found = page.run(
        """(() => {
          const field = document.querySelector('#filter [name=words]');
          field.value = 'PICTURE 250,';
          field.dispatchEvent(new Event('input', {bubbles: true}));
          return new Promise((done) => setTimeout(() => done(
            [...document.querySelectorAll('.card .open')].map((each) => each.textContent)), 400));
        })()"""
    )
    assert found == ["What is to be seen in picture 250, and what is it doing there?"]


def test_pages_turn_and_a_sample_opens_in_full(page: Page, many: Path) -> None:
    page.open(many)
    first = "document.querySelector('.card .open').textContent"
    press = (
        "[...document.querySelectorAll('{} button')].find((b) => b.textContent === '{}').click()"
    )
    assert "picture 0," in page.run(first)
    page.run(press.format("#pager", "Next"))
    assert "picture 24," in page.run(first)
    assert "Page 2 of 209" in page.run("document.querySelector('#pager').textContent")
    page.run("document.querySelector('.card .open').click()")
    dialog = "document.querySelector('dialog[open]')"
    assert page.run(f"{dialog}.querySelector('h3').textContent").startswith("What is to be seen")
    assert "25 of 5,000, question 24" in page.run(f"{dialog}.textContent")
    assert page.run("document.activeElement.textContent") == "Close"
    page.send("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    page.run(press.format("dialog", "Next"))
    words = page.run(f"{dialog}.textContent")
    assert "27 of 5,000, question 26" in words
    assert "one, grey pictures" in words
    page.run(press.format("dialog", "Close"))
    assert page.run(f"{dialog} === null")


def test_order_is_by_what_an_answer_is_worth(page: Page, many: Path) -> None:
    page.open(many)
    first = "document.querySelector('.card .verdict').textContent"
    choose(page, "order", "Lowest first")
    assert page.run(first) == "wrong"
    choose(page, "order", "Highest first")
    assert page.run(first) == "right"


def test_the_radar_shows_who_is_ticked(page: Page, small: Path) -> None:
    page.open(small)
    shown = "getComputedStyle(document.querySelector('polygon.model.c1')).display"
    assert page.run(shown) != "none"
    page.run("document.querySelector('.radar input[data-outline=model-1]').click()")
    assert page.run(shown) == "none"


def test_hostile_words_are_words(page: Page, tmp_path: Path) -> None:
    evaluation(tmp_path, hostile=True)
    written(tmp_path)
    page.complaints.clear()
    page.look(1280, 900)
    page.open(tmp_path / "report.html")
    shown = page.run(
        "[...document.querySelectorAll('.card .open')].map((each) => each.textContent)"
    )
    # A browser shows half a character as U+FFFD, and keeps it in the text.
    assert shown[:3] == list(HOSTILE[:3])
    assert shown[4] == HOSTILE[4]
    page.run("document.querySelectorAll('.card').forEach((each) => { each.click(); })")
    assert page.run("typeof window.hacked") == "undefined"
    assert page.run("document.querySelectorAll('script').length") == 3
    assert page.run("document.querySelectorAll('#cards b, #cards script').length") == 0
    assert page.complaints == []
    assert page.run("document.documentElement.scrollWidth") <= 1280


def test_the_policy_stops_what_would_be_written_into_the_page(page: Page, small: Path) -> None:
    page.open(small)
    page.run(
        """(() => {
          const script = document.createElement('script');
          script.textContent = 'window.hacked = 3';
          document.body.append(script);
          document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.hacked = 4">');
          return new Promise((done) => setTimeout(done, 200));
        })()"""
    )
    assert page.run("typeof window.hacked") == "undefined"
    assert any("Content Security Policy" in complaint for complaint in page.complaints)


@pytest.mark.parametrize("width", [320, 390, 768, 1920])
def test_it_fits_every_width(page: Page, small: Path, width: int) -> None:
    page.look(width, 900)
    page.open(small)
    assert page.run("document.documentElement.scrollWidth") <= width


def test_on_a_phone_numbers_have_most_of_a_table_and_names_are_whole(
    page: Page, small: Path
) -> None:
    page.look(390, 844)
    page.open(small)
    table = "document.querySelector('#benchmark-1 .scroll')"
    name = f"{table}.querySelector('tbody th')"
    assert page.run(f"{name}.offsetWidth / {table}.offsetWidth") < 0.45
    page.run(f"{name}.textContent = 'one-very-long-name-of-a-model-that-somebody-has-trained'")
    assert page.run(f"{name}.scrollWidth <= {name}.offsetWidth")
    assert page.run(f"{name}.offsetWidth / {table}.offsetWidth") < 0.45
    page.run("document.querySelector('.card').click()")
    bar = "document.querySelector('dialog .bar')"
    assert page.run(f"{bar}.querySelector('.space').offsetHeight") < 30
    assert page.run(f"{bar}.scrollWidth <= {bar}.offsetWidth")


CONTRAST = """(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (!/, 0\\)|transparent/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const low = new Set();
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest('svg') || element.disabled) continue;
    const [one, other] = [light(getComputedStyle(element).color), light(ground(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) low.add(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
  }
  return [...low];
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_word_stands_out_from_its_ground_and_every_field_has_a_name(
    page: Page, small: Path, dark: bool
) -> None:
    page.look(1280, 900, dark=dark)
    page.open(small)
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is not dark
    page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.run(CONTRAST) == []
    page.run("document.querySelector('.card').click()")
    assert page.run(CONTRAST) == []
    nameless = page.run(
        """[...document.querySelectorAll('select, input')].filter((field) => !field.labels.length
           || !field.labels[0].textContent.trim()).length"""
    )
    assert nameless == 0
    assert page.run("document.querySelectorAll('h1').length") == 1
    assert page.run("document.querySelectorAll('svg[role=img]:not([aria-label])').length") == 0


def test_printed_it_has_no_buttons_and_is_light(page: Page, small: Path) -> None:
    page.look(800, 1100, dark=True, media="print")
    page.open(small)
    shown = "getComputedStyle(document.getElementById('filter')).display"
    assert page.run(shown) == "none"
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.send("Page.printToPDF")["data"]) > 20_000
